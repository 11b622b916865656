import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir } from 'node:fs/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../src/host/local.ts'
import { cli, usePlace } from '../support/cli.ts'
import { startProcess } from '../support/process.ts'
import { keyOf, putDraft, putTemplate } from '../support/template-folders.ts'

const place = usePlace()
const ps = (...words: string[]) => cli(['ps', ...words], place)
const clean = (...words: string[]) => cli(['clean', ...words], place)
const store = () => place.env.VITEST_DUT_TEMPLATES as string
const cells = (text: string) => text.split('\n').map((line) => line.split(/ {2,}/))

/** Another process that is promised something, or waits for it, until it is ended. */
async function start(name: string, ...qemu: string[]) {
  const process = startProcess('hold-lease.ts', [name, ...qemu], {
    lockDir: place.env.VITEST_DUT_LOCK_DIR ?? '',
  })
  onTestFinished(() => process.kill())
  return { ...process, said: await process.line() }
}

describe('ps', () => {
  test('with nothing to show', async () => {
    expect(await ps()).toEqual({
      ...{ stdout: 'no VMs and no leases on this machine\n', stderr: '' },
      ...{ exitCode: 0, signal: null },
    })
    expect(JSON.parse((await ps('--json')).stdout)).toEqual({
      ...{ version: 1, leases: [], waiting: [], templates: [] },
    })
  })

  test('shows what runs, what starts, what a test holds, and who waits', async () => {
    const program = spawn('tail', ['-f', '/dev/null'])
    onTestFinished(() => void program.kill())
    const holder = await start('generator', String(program.pid))
    const waiter = await start('generator')
    expect(waiter.said).toBe('waiting')
    const { stdout, exitCode } = await ps()
    expect(exitCode).toBe(0)
    const lines = cells(stdout)
    expect(lines[0]).toEqual(['VM', 'STATE', 'USER', 'RUN', 'SUITE', 'AGE', 'PID', 'MEMORY', 'HAS'])
    const user = expect.any(String)
    const age = expect.stringMatching(/^\d+ s$/)
    const pid = String(holder.pid)
    const port = expect.stringMatching(/^port 20\d{3}$/)
    expect(lines.slice(1, 4)).toEqual([
      ['dut0/vm0', 'running', user, 'a1b2c3', 'b.spec.ts', age, String(program.pid), '64M', port],
      ['dut0/vm1', 'starting', user, 'a1b2c3', 'b.spec.ts', age, pid, '32M', '-'],
      ['dut0/-', 'held', user, 'a1b2c3', 'b.spec.ts', age, pid, '0B', 'name generator'],
    ])
    expect(stdout).toMatch(
      new RegExp(
        `waits for name generator: 1 VM on dut0 \\(.*, process ${waiter.pid}, b\\.spec\\.ts\\), \\d+ s\\n`,
      ),
    )
  })

  test('as JSON has exactly these fields', async () => {
    const holder = await start('generator')
    const waiter = await start('generator')
    const answer = JSON.parse((await ps('--json')).stdout)
    expect(Object.keys(answer)).toEqual(['version', 'leases', 'waiting', 'templates'])
    const { leases, waiting } = answer
    const who = {
      ...{ user: expect.any(String), program: expect.any(String), folder: process.cwd() },
      ...{ run: 'a1b2c3', suite: 'b.spec.ts' },
      since: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    }
    const nothing = { hugepages: null, cpus: [], ports: [], pci: [], bridges: [], names: [] }
    expect(leases).toEqual([
      {
        lease: expect.stringMatching(/^lease@[0-9a-f]{12}$/),
        ...{ state: 'starting', dut: 'dut0', vm: 'vm0', qemu: null, pid: holder.pid },
        ...{ ...who, memory: 64 * 2 ** 20, ...nothing, ports: [expect.any(Number)] },
      },
      {
        ...{ lease: expect.any(String), state: 'starting', dut: 'dut0', vm: 'vm1', qemu: null },
        ...{ pid: holder.pid, ...who, memory: 32 * 2 ** 20, ...nothing },
      },
      {
        ...{ lease: expect.any(String), state: 'held', dut: 'dut0', vm: null, qemu: null },
        ...{ pid: holder.pid, ...who, memory: 0, ...nothing, names: ['generator'] },
      },
    ])
    expect(waiting).toEqual([
      { dut: 'dut0', vms: [null], pid: waiter.pid, ...who, lacks: ['name generator'] },
    ])
  })

  test('tells how many templates there are, and has them in its JSON', async () => {
    await putTemplate(store(), 1, { secondsAgo: 60 })
    expect((await ps()).stdout).toMatch(
      /^no VMs and no leases on this machine\n\n1 template, 1\.0M\n$/,
    )
    const used = await putTemplate(store(), 2, { megabytes: 2 })
    const lock = await localHost().lock(used, { shared: true })
    onTestFinished(() => lock.release())
    expect((await ps()).stdout).toMatch(/\n\n2 templates \(1 in use\), 3\.0M\n$/)
    const { templates } = JSON.parse((await ps('--json')).stdout)
    const listed = await cli(['template', 'list', '--json'], place)
    expect(templates).toEqual(JSON.parse(listed.stdout).templates)
    expect(templates.map(({ key, inUse }: Record<string, unknown>) => [key, inUse])).toEqual([
      [keyOf(2), true],
      [keyOf(1), false],
    ])
  })

  test('shows VMs all the same where no templates can be kept', async () => {
    await mkdir(store())
    await chmod(store(), 0o755)
    expect(await ps()).toMatchObject({
      ...{ stdout: 'no VMs and no leases on this machine\n', stderr: '', exitCode: 0 },
    })
    expect(JSON.parse((await ps('--json')).stdout)).toMatchObject({ templates: [] })
  })
})

describe('clean', () => {
  const locks = async () =>
    (await readdir(place.env.VITEST_DUT_LOCK_DIR ?? '')).filter((name) => name.includes('@'))

  test('with nothing to do', async () => {
    expect(await clean()).toMatchObject({
      ...{ stdout: 'nothing is left of runs that are over\n', stderr: '', exitCode: 0 },
    })
  })

  test('removes what the dead had and nothing of the living', async () => {
    const dead = await start('generator')
    const living = await start('other')
    await dead.kill()
    expect(await locks()).toHaveLength(8)
    expect((await ps()).stdout).toMatch(/dut0\/vm0 +dead [\s\S]*npx vitest-dut clean\n$/)

    const dry = await clean('--dry-run')
    expect(dry.stdout.match(/^would remove lease of dut0\/(vm0|vm1|-) /gm)).toHaveLength(3)
    expect(dry.stdout).toMatch(/^would remove owner file owner@/m)
    expect(await locks()).toHaveLength(8)

    const done = await clean()
    expect(done).toMatchObject({ stderr: '', exitCode: 0 })
    expect(done.stdout).toBe(dry.stdout.replaceAll('would remove', 'removed'))
    expect(await locks()).toHaveLength(4)
    const { leases } = JSON.parse((await ps('--json')).stdout)
    expect(leases.map((lease: { pid: number }) => lease.pid)).toEqual(Array(3).fill(living.pid))
  })

  test('as JSON has exactly these fields', async () => {
    await (await start('generator')).kill()
    expect(JSON.parse((await clean('--dry-run', '--json')).stdout)).toEqual({
      ...{ version: 1, dryRun: true, runs: [], processes: [] },
      leases: ['vm0', 'vm1', null].map((vm) => {
        return { lease: expect.any(String), dut: 'dut0', vm, user: expect.any(String) }
      }),
      ...{ waiting: [], bridges: [], owners: [expect.stringMatching(/^owner@/)], templates: [] },
    })
  })

  test('removes templates that nobody finishes, and no others', async () => {
    const whole = await putTemplate(store(), 1)
    const [dead, making] = [await putDraft(store(), 2), await putDraft(store(), 3)]
    const lock = await localHost().lock(making, { shared: true })
    onTestFinished(() => lock.release())

    expect(await clean('--dry-run')).toMatchObject({
      ...{ stdout: `would remove unfinished template ${dead}\n`, stderr: '', exitCode: 0 },
    })
    const dry = JSON.parse((await clean('--dry-run', '--json')).stdout)
    expect(dry).toMatchObject({ dryRun: true, templates: [dead] })
    expect(existsSync(dead)).toBe(true)

    const answer = JSON.parse((await clean('--json')).stdout)
    expect(answer).toEqual({ ...dry, dryRun: false })
    expect([whole, dead, making].map(existsSync)).toEqual([true, false, true])
    await lock.release()
    expect((await clean()).stdout).toBe(`removed unfinished template ${making}\n`)
    expect((await clean()).stdout).toBe('nothing is left of runs that are over\n')
    expect(await readdir(store())).toEqual([keyOf(1)])
  })
})
