import { expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../../src/host/local.ts'
import { readText } from '../../../src/host/read-text.ts'
import type { Qmp } from '../../../src/qemu/qmp.ts'
import { busiest, vcpuTimes } from '../../../src/vm/instance/vcpus.ts'
import { poll, waitFor } from '../../../src/wait.ts'

const host = localHost()
const SOON = { timeoutMs: 20_000 }
const SPIN = 'echo up; while :; do :; done'

/** Two looks, some time apart, at a program that stands for QEMU and its only virtual CPU. */
async function lookAt(...[file, ...args]: [string, ...string[]]) {
  const pty = host.openPty(file, args, { leash: true })
  const isUp = new Promise<void>((resolve) => pty.onData(() => resolve()))
  onTestFinished(async () => {
    pty.kill()
    await pty.exited
  })
  await waitFor(isUp, SOON)
  const execute = async () => [{ 'thread-id': pty.pid }]
  const machine = { qmp: { execute } as unknown as Qmp, qemu: pty, engine: { host } }
  const before = await vcpuTimes(machine)
  const later = async () => {
    const now = await vcpuTimes(machine)
    return now.at - before.at > 200 ? busiest(before, now) : undefined
  }
  return poll(later, { ...SOON, everyMs: 20 })
}

test('a CPU with nothing to do wants next to nothing of the time', async () => {
  expect((await lookAt('sh', '-c', 'echo up; exec sleep 1000')).part).toBeLessThan(0.1)
})

test('a CPU that runs wants all of the time', async () => {
  expect((await lookAt('sh', '-c', SPIN)).part).toBeGreaterThan(0.9)
})

test('a CPU whose turn does not come wants all of the time as well', async () => {
  // Beside another of its session, at the same CPU of the host, it is given next to nothing.
  const status = await readText(host, '/proc/self/status')
  const cpu = /^Cpus_allowed_list:\s*(\d+)/m.exec(status)?.[1] ?? '0'
  const both = `while :; do :; done & exec chrt --idle 0 sh -c '${SPIN}'`
  const { part } = await lookAt('taskset', '--cpu-list', cpu, 'sh', '-c', both)
  expect(part).toBeGreaterThan(0.9)
})
