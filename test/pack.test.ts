import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { attempt, type Consumer, openConsumer, pack, ROOT } from './support/consumer.ts'

/** Debian's own is one that this package does not run on, but has to be read by. */
const OLD_NODE = /^v(1\d|20)\./.test(
  spawnSync('/usr/bin/node', ['--version'], { encoding: 'utf8' }).stdout ?? '',
)

let dir = ''
let tarball = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'dut-pack-'))
  tarball = await pack(dir)
}, 600_000)
afterAll(() => rm(dir, { recursive: true }))

describe('the tarball', () => {
  test('publint finds nothing', async () => {
    const { exitCode, stdout } = await attempt(ROOT, 'npx', 'publint', '--strict', tarball)
    expect(stdout).toContain('All good!')
    expect(exitCode).toBe(0)
  })

  test('its types resolve for everybody who can import it', async () => {
    const { exitCode, stdout } = await attempt(
      ROOT,
      'npx',
      'attw',
      tarball,
      '--profile',
      'esm-only',
    )
    expect(exitCode, stdout).toBe(0)
  })

  test('holds the built files, the guest and the licence, and no sources or tests', async () => {
    const { stdout } = await attempt(ROOT, 'tar', '-tzf', tarball)
    const files = stdout.trimEnd().split('\n')
    for (const name of ['dist/index.js', 'dist/plugin.d.ts', 'guest/image/packages.txt']) {
      expect(files).toContain(`package/${name}`)
    }
    expect(files).toContain('package/LICENSE')
    const command = /^(\S+) .* package\/dist\/cli\/main\.js$/m
    const { stdout: modes } = await attempt(ROOT, 'tar', '-tvzf', tarball)
    expect(command.exec(modes)?.[1]).toBe('-rwxr-xr-x')
    expect(
      files.filter((name) => /^package\/(src|test|examples|bench|scripts)\//.test(name)),
    ).toEqual([])
  })
})

describe('a project that installs it', () => {
  let consumer: Consumer
  beforeAll(async () => {
    consumer = await openConsumer(tarball)
    await consumer.write({
      'vitest.config.ts': `
        import { defineConfig } from 'vitest/config'
        import { dut } from 'vitest-dut/plugin'
        export default defineConfig({ plugins: [dut()] })`,
      'no-vms.spec.ts': `
        import { dutTest, expect } from 'vitest-dut'
        const test = dutTest({ vms: 0 })
        test('a DUT without VMs', async ({ dut, vms }) => {
          expect(vms).toEqual([])
          const { stdout } = await dut.exec('echo here')
          expect(stdout).toBe('here\\n')
        })`,
    })
  }, 600_000)
  afterAll(() => consumer?.[Symbol.asyncDispose]())

  test('type-checks, the declarations of the package included', async () => {
    await consumer.run('npx', 'tsc', '--noEmit')
  })

  test('a misspelt option is a type error there', async () => {
    await consumer.write({
      'wrong.ts': `import { dutTest } from 'vitest-dut'\ndutTest({ vmz: 2 })\n`,
    })
    const { exitCode, stdout } = await attempt(consumer.dir, 'npx', 'tsc', '--noEmit')
    expect(stdout).toContain("'vmz' does not exist")
    expect(exitCode).not.toBe(0)
    await rm(join(consumer.dir, 'wrong.ts'))
  })

  test('runs a spec', async () => {
    expect(await consumer.run('npx', 'vitest', 'run')).toMatch(/Tests +1 passed/)
  })

  test('has its command', async () => {
    const { stdout } = await attempt(consumer.dir, 'npx', 'vitest-dut', 'doctor', '--json')
    const [node, pty] = JSON.parse(stdout).checks
    expect([node, pty]).toMatchObject([
      { check: 'node', status: 'ok' },
      { check: 'node-pty', status: 'ok' },
    ])
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
    expect(await consumer.run('npx', 'vitest-dut', '--version')).toBe(`${version}\n`)
    expect(await consumer.run('npx', 'vitest-dut', 'guest', '--help')).toContain('prune')
  })

  test.runIf(OLD_NODE)('is told in a sentence that a Node is too old', async () => {
    const command = join(consumer.dir, 'node_modules/vitest-dut/dist/cli/main.js')
    const { exitCode, stdout, stderr } = await attempt(consumer.dir, '/usr/bin/node', command)
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' })
    expect(stderr).toMatch(/^vitest-dut needs Node \^22.*; \/usr\/bin\/node is v\d+\.\d+\.\d+\n$/)
  })
})
