import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { inRange } from '../../src/cli/package.ts'
import { localHost } from '../../src/host/local.ts'
import { cli, MAIN, usePlace } from '../support/cli.ts'

const place = usePlace()
const run = (...words: string[]) => cli(words, place)

const PACKAGE = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'))

describe('help', () => {
  test.each([
    ['', 'doctor', 'ps', 'clean', 'guest', 'template', '--version'],
    ['doctor', '--json', 'nothing is missing'],
    ['ps', '--json'],
    ['guest', 'build', 'path', 'list', 'prune'],
    ['guest build', 'print its folder'],
    ['guest path', 'not built yet'],
    ['guest list', '--json'],
    ['guest prune', '--dry-run', '--json'],
    ['template', 'list', 'prune'],
    ['template list', '--json'],
    ['template prune', '--dry-run', '--json'],
  ])('of vitest-dut %s', async (command, ...parts) => {
    const words = command.split(' ').filter((word) => word !== '')
    const { stdout, stderr, exitCode } = await run(...words, '--help')
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
    expect(stdout).toMatch(new RegExp(`^Usage: ${['vitest-dut', ...words].join(' ')} `))
    for (const part of [...parts, 'Exit status:\n  0 ', '  2  the command line']) {
      expect(stdout).toContain(part)
    }
    expect(stdout).toMatch(new RegExp(`Examples?:\n.*npx vitest-dut ${command}`))
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  })

  test('is what one gets without a command, as an error', async () => {
    for (const words of [[], ['guest'], ['template']]) {
      const { stdout, stderr, exitCode } = await run(...words)
      expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 })
      expect(stderr).toContain('Usage: vitest-dut')
    }
  })
})

test('the version is that of the package', async () => {
  expect(await run('--version')).toMatchObject({ stdout: `${PACKAGE.version}\n`, exitCode: 0 })
})

test.each([
  [['doctr'], "unknown command 'doctr'\n(Did you mean doctor?)"],
  [['guest', 'lst'], "unknown command 'lst'\n(Did you mean list?)"],
  [['template', 'prun'], "unknown command 'prun'\n(Did you mean prune?)"],
  [['doctor', '--jsn'], "unknown option '--jsn'\n(Did you mean --json?)"],
  [['doctor', 'now'], 'too many arguments'],
])('%j is a usage error', async (words, message) => {
  const { stdout, stderr, exitCode } = await run(...words)
  expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 })
  expect(stderr).toContain(message)
})

test('what fails is told without a stack', async () => {
  expect(await run('guest', 'path')).toMatchObject({
    exitCode: 1,
    stdout: '',
    stderr:
      `the current guest is not in ${place.dir}/cache\n` +
      '→ build it: npx vitest-dut guest build\n',
  })
})

test('who reads may have enough before the end', async () => {
  const script = 'set -o pipefail; "$@" | true'
  const { exitCode, stderr } = await localHost().run(
    'bash',
    ['-c', script, 'bash', process.execPath, MAIN, 'doctor', '--json'],
    { env: place.env },
  )
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
})

describe('what comes before all else', () => {
  /** Node options that run this first. */
  const first = (code: string) => ['--import', `data:text/javascript,${encodeURIComponent(code)}`]

  test('an old Node is told so, and that it is this one', async () => {
    const node = first(`
      Object.defineProperty(process.versions, 'node', { value: '20.20.2' })
      Object.defineProperty(process, 'version', { value: 'v20.20.2' })`)
    const { stdout, stderr, exitCode } = await cli(['doctor'], { ...place, node })
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 1 })
    expect(stderr).toBe(
      `vitest-dut needs Node ${PACKAGE.engines.node}; ${process.execPath} is v20.20.2\n`,
    )
  })

  const broken = first(`
    import { registerHooks } from 'node:module'
    registerHooks({
      resolve(name, context, next) {
        if (name.startsWith('@lydell/node-pty-linux')) throw new Error('not found: ' + name)
        return next(name, context)
      },
    })`)

  test('a module for terminals that is not installed whole is what the doctor finds', async () => {
    const { stdout, exitCode } = await cli(['doctor', '--json'], { ...place, node: broken })
    expect(exitCode).toBe(1)
    const { ok, checks } = JSON.parse(stdout)
    expect(ok).toBe(false)
    expect(checks.slice(0, 2)).toEqual([
      { check: 'node', status: 'ok', detail: expect.any(String) },
      {
        check: 'node-pty',
        status: 'missing',
        detail: `@lydell/node-pty is installed without its part for linux-${process.arch}`,
        fix: 'npm install --include=optional',
      },
    ])
  })

  test('commands that open no terminal do without it', async () => {
    const { exitCode } = await cli(['guest', 'list'], { ...place, node: broken })
    expect(exitCode).toBe(0)
  })

  test.each([
    ['22.11.9', false],
    ['22.12.0', true],
    ['22.22.1', true],
    ['23.9.0', false],
    ['24.0.0', true],
    ['25.1.0', false],
    ['26.0.0', true],
    ['30.1.2', true],
    ['20.20.2', false],
    ['18.0.0', false],
  ])('Node %s: %s', (version, supported) => {
    expect(PACKAGE.engines.node).toBe('^22.12.0 || ^24.0.0 || >=26.0.0')
    expect(inRange(version, PACKAGE.engines.node)).toBe(supported)
  })
})
