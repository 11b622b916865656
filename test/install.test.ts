import { globSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { attempt, openProject, pack } from './support/consumer.ts'

let dir = ''
let tarball = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'dut-install-'))
  tarball = await pack(dir)
}, 600_000)
afterAll(() => rm(dir, { recursive: true }))

const PROJECT = {
  // pnpm's store and yarn's cache are to be gone with the project.
  '.npmrc': 'store-dir=./.store\n',
  '.yarnrc': 'cache-folder "./.cache"\n',
  'vitest.config.ts': `
    import { defineConfig } from 'vitest/config'
    import { dut } from 'vitest-dut/plugin'
    export default defineConfig({ plugins: [dut()] })`,
  'terminal.spec.ts': `
    import { dutTest } from 'vitest-dut'
    const test = dutTest({ vms: 0 })
    test('a terminal', async ({ dut }) => {
      await dut.spawn('test -t 0 && echo on a terminal; read x', { prompt: 'on a terminal' })
    })`,
}

test.each([
  ['npm --ignore-scripts', ['npm'], 'npm install --ignore-scripts --no-audit --no-fund'],
  ['pnpm, which blocks scripts', ['npx', '--yes', 'pnpm@10.34.9'], 'pnpm add'],
  // It installs no package of its own accord that another only expects.
  ['yarn', ['npx', '--yes', 'yarn@1.22.22'], 'yarn add --ignore-scripts vite@8.3.8'],
])(
  '%s: terminals open; where their part is not there, one line mends it',
  {
    timeout: 300_000,
  },
  async (_, manager, add) => {
    await using project = await openProject(PROJECT)
    const type = (line: string, ...more: string[]) => {
      const [, ...words] = line.split(' ')
      const [file = '', ...first] = manager
      return project.run(file, ...first, ...words, ...more)
    }
    const node = join(project.dir, 'node_modules')
    const run = () => attempt(project.dir, join(node, '.bin/vitest'), 'run')
    await type(add, tarball, 'vitest@5.1.1')
    expect(await run()).toMatchObject({ exitCode: 0 })

    const part = `node-pty-${process.platform}-${process.arch}`
    const found = globSync([`@lydell/${part}`, `.pnpm/@lydell+${part}@*`], { cwd: node })
    expect(found).toHaveLength(1)
    await rm(join(node, found[0] ?? ''), { recursive: true })
    const { exitCode, stderr } = await run()
    expect(exitCode).toBe(1)
    expect(stderr).toContain('@lydell/node-pty is installed without its part for linux-')
    expect(stderr).not.toContain('Caused by')
    const line = /→ install it, in this project: (.*)/.exec(stderr)?.[1] ?? ''
    expect(line).toMatch(new RegExp(`^${add.split(' ')[0]} `))
    await type(line)
    expect(await run()).toMatchObject({ exitCode: 0 })
  },
)
