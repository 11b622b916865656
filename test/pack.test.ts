import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { attempt, type Consumer, openConsumer, pack, ROOT } from './consumer.ts'

let dir = ''
let tarball = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'dut-pack-'))
  tarball = await pack(dir)
})
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
    for (const name of ['dist/index.js', 'dist/plugin.d.ts', 'fixtures/guest/packages.txt']) {
      expect(files).toContain(`package/${name}`)
    }
    expect(files).toContain('package/LICENSE')
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
  })
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
})
