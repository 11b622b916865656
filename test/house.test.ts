import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkHouse } from '../scripts/check-house.ts'

let root = ''
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'dut-house-'))
})
afterEach(() => rm(root, { recursive: true }))

/** The breaches, as they are printed, of a project made of these files. */
async function check(files: Record<string, string>): Promise<string[]> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  return checkHouse(root).map(({ file, line, rule }) => `${file}:${line}: ${rule}`)
}

describe('floors', () => {
  test('down, and sideways within a folder, are allowed', async () => {
    const files = {
      'src/index.ts': `export * from './vm/vm.ts'\nexport * from './runner/dut.ts'`,
      'src/runner/dut.ts': `import '../fleet/fleet.ts'\nimport '../errors.ts'`,
      'src/fleet/fleet.ts': `import '../vm/vm.ts'\nimport './dut.ts'`,
      'src/fleet/dut.ts': `import '../host/host.ts'`,
      'src/vm/vm.ts': `import '../console/console.ts'`,
      'src/console/console.ts': `import '../wait.ts'`,
      'src/host/host.ts': `import '../errors.ts'`,
      'src/errors.ts': `import './wait.ts'`,
      'src/wait.ts': '',
    }
    expect(await check(files)).toEqual([])
  })

  test.each([
    ['vm', 'fleet'],
    ['host', 'lease'],
    ['console', 'qemu'],
    ['fleet', 'runner'],
  ])('upward, %s → %s', async (from, to) => {
    const files = {
      [`src/${from}/a.ts`]: `// reasons\nimport { b } from '../${to}/b.ts'`,
      [`src/${to}/b.ts`]: '',
    }
    expect(await check(files)).toEqual([
      `src/${from}/a.ts:2: imports upward: src/${to}/b.ts is on a higher floor`,
    ])
  })

  test.each([
    ['image', 'lease'],
    ['runner', 'dpdk'],
    ['host', 'trace'],
  ])('sideways between folders, %s → %s', async (from, to) => {
    const files = { [`src/${from}/a.ts`]: `import '../${to}/b.ts'`, [`src/${to}/b.ts`]: '' }
    expect(await check(files)).toEqual([
      `src/${from}/a.ts:1: imports sideways: src/${to}/b.ts is in another folder of its floor`,
    ])
  })

  test('the shared words may import nothing of a folder, and nobody the roof', async () => {
    const files = {
      'src/errors.ts': `import './host/host.ts'`,
      'src/host/host.ts': '',
      'src/runner/a.ts': `import '../index.ts'`,
      'src/index.ts': '',
    }
    expect(await check(files)).toEqual([
      'src/errors.ts:1: imports upward: src/host/host.ts is on a higher floor',
      'src/runner/a.ts:1: imports upward: src/index.ts is on a higher floor',
    ])
  })

  test.each([
    ['a type', `import type { B } from '../fleet/b.ts'`],
    ['an export', `export { b } from '../fleet/b.ts'`],
    ['everything', `export * from '../fleet/b.ts'`],
    ['at run time', `const b = async () => (await import('../fleet/b.ts')).b`],
    ['inside a type', `let b: import('../fleet/b.ts').B`],
  ])('counted too: %s', async (_, line) => {
    expect(await check({ 'src/vm/a.ts': line, 'src/fleet/b.ts': '' })).toEqual([
      'src/vm/a.ts:1: imports upward: src/fleet/b.ts is on a higher floor',
    ])
  })

  test('a folder that has no floor', async () => {
    expect(await check({ 'src/cellar/a.ts': '' })).toEqual([
      'src/cellar/a.ts:1: src/cellar is on no floor of the house: give it one in check-house.ts',
    ])
  })
})

describe('circles', () => {
  test('of two files and of three, each told once', async () => {
    const files = {
      'src/vm/a.ts': `import './b.ts'`,
      'src/vm/b.ts': `import './c.ts'`,
      'src/vm/c.ts': `import '../errors.ts'\nimport './a.ts'`,
      'src/errors.ts': `import './units.ts'`,
      'src/units.ts': `import type { E } from './errors.ts'`,
    }
    expect(await check(files)).toEqual([
      'src/units.ts:1: imports in a circle: src/errors.ts → src/units.ts → src/errors.ts',
      'src/vm/c.ts:2: imports in a circle: src/vm/a.ts → src/vm/b.ts → src/vm/c.ts → src/vm/a.ts',
    ])
  })

  test('two ways to the same file are none', async () => {
    const files = {
      'src/vm/a.ts': `import './b.ts'\nimport './c.ts'`,
      'src/vm/b.ts': `import './d.ts'`,
      'src/vm/c.ts': `import './d.ts'`,
      'src/vm/d.ts': '',
    }
    expect(await check(files)).toEqual([])
  })
})

describe('reserved packages', () => {
  test.each(['vitest', 'vitest/node'])('%s: the runner and the roof', async (name) => {
    const line = `import '${name}'`
    const files = {
      'src/runner/a.ts': line,
      'src/index.ts': line,
      'src/plugin.ts': line,
      'src/fleet/a.ts': line,
      'src/errors.ts': line,
    }
    const rule = `${name} may be imported only by src/runner, src/index.ts, src/plugin.ts`
    expect(await check(files)).toEqual([`src/errors.ts:1: ${rule}`, `src/fleet/a.ts:1: ${rule}`])
  })

  test.each(['node:child_process', 'child_process', 'execa', '@lydell/node-pty'])(
    '%s: the host',
    async (name) => {
      const files = {
        'src/host/a.ts': `import '${name}'`,
        'src/vm/a.ts': `const x = await import('${name}')`,
      }
      expect(await check(files)).toEqual([
        `src/vm/a.ts:1: ${name} may be imported only by src/host`,
      ])
    },
  )

  test('names that only begin like one are others', async () => {
    expect(await check({ 'src/vm/a.ts': `import 'vitest-mock'\nimport 'execa-like'` })).toEqual([])
  })
})

describe('waiting', () => {
  test('timers are set only in wait.ts', async () => {
    const text = `\nsetTimeout(f, ms)\nglobalThis.setInterval(f, ms)\nclearTimeout(t)`
    const wait = `import { setTimeout } from './time.ts'\nsetTimeout(f, ms)`
    expect(await check({ 'src/time.ts': '', 'src/wait.ts': wait, 'src/vm/a.ts': text })).toEqual([
      'src/vm/a.ts:2: setTimeout is called only in src/wait.ts: wait through that',
      'src/vm/a.ts:3: setInterval is called only in src/wait.ts: wait through that',
    ])
  })

  test('signals are those of abort.ts', async () => {
    const bad = ['new AbortController()', 'AbortSignal.any([a, b])', 'AbortSignal.abort(cause)']
    const good = `import { AbortController } from '../abort.ts'\nnew AbortController()`
    const files = {
      'src/abort.ts': bad[0] ?? '',
      'src/vm/a.ts': bad.join('\n'),
      'src/vm/b.ts': good,
    }
    expect(await check(files)).toEqual(
      ['AbortController', 'AbortSignal', 'AbortSignal'].map(
        (name, i) =>
          `src/vm/a.ts:${i + 1}: ${name} may be a test environment's own: take it from src/abort.ts`,
      ),
    )
  })

  test('timers and clocks are those of time.ts', async () => {
    const bad = [
      ...['performance.now()', 'Date.now()', 'new Date()', 'globalThis.performance.now()'],
      ...['process.hrtime.bigint()', 'AbortSignal.timeout(ms)', 'const { now } = globalThis.Date'],
    ]
    const good = `import { performance } from '../time.ts'\nperformance.now()\nnew Date(ms).getDate()`
    const files = {
      'src/time.ts': bad.join('\n'),
      'src/vm/a.ts': bad.join('\n'),
      'src/vm/b.ts': good,
    }
    const found = await check({ ...files, 'src/wait.ts': 'setTimeout(f, ms)' })
    const rule = `may be a test's own: take timers and clocks from src/time.ts`
    expect(found).toHaveLength(bad.length + 1)
    expect(new Set(found.map((breach) => breach.replace(/:\d+: \S+/, ':')))).toEqual(
      new Set([`src/vm/a.ts: ${rule}`, `src/wait.ts: ${rule}`]),
    )
  })

  test.each(['node:timers', 'timers/promises', 'node:perf_hooks'])(
    'nor through %s',
    async (name) => {
      expect(
        await check({ 'src/time.ts': `import '${name}'`, 'src/vm/a.ts': `import '${name}'` }),
      ).toEqual([`src/vm/a.ts:1: ${name} may be imported only by src/time.ts`])
    },
  )

  test.each(['test/vm/a.test.ts', 'examples/a.spec.ts', 'bench/a.ts'])(
    '%s sleeps',
    async (file) => {
      const text = [
        'await new Promise((resolve) => setTimeout(resolve, 100))',
        'await sleep(5 * 1000)',
        'await timers.setTimeout(1_000)',
      ].join('\n')
      const told = 'with a fixed time: wait for what is to happen, with a deadline (src/wait.ts)'
      expect(await check({ [file]: text })).toEqual([
        `${file}:1: setTimeout ${told}`,
        `${file}:2: sleep ${told}`,
        `${file}:3: setTimeout ${told}`,
      ])
    },
  )

  test('what is typed into a guest may sleep', async () => {
    const text = `await vm.exec('sleep 30')\nawait vm.cmd(['sleep 1'], [''], ['5s']) // setTimeout(f, 5)`
    expect(await check({ 'test/vm/a.test.ts': text })).toEqual([])
  })
})

test('a file may have 250 lines and no more', async () => {
  const files = { 'src/vm/a.ts': '\n'.repeat(250), 'src/vm/b.ts': '\n'.repeat(251) }
  expect(await check(files)).toEqual(['src/vm/b.ts:251: has 251 lines, more than 250'])
})

test('a comment or a string that speaks of an import is none', async () => {
  const text = `// import '../fleet/b.ts'\nconst text = "import 'execa'"`
  expect(await check({ 'src/vm/a.ts': text })).toEqual([])
})
