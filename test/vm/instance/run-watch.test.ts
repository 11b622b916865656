import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { GuestError, InfrastructureError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import type { QmpEvents, RunState } from '../../../src/qemu/qmp-types.ts'
import type { KernelLog } from '../../../src/vm/instance/kernel-log.ts'
import type { Engine } from '../../../src/vm/instance/qemu-instance.ts'
import { RunWatch } from '../../../src/vm/instance/run-watch.ts'
import { poll, turn, waitFor } from '../../../src/wait.ts'
import { agentPeer } from '../../support/agent-peer.ts'
import { greeted, openPeer } from '../../support/qmp-peer.ts'

/*
 * States of QEMU that none can be brought into here, such as those that KVM alone has: the other end of the
 * connection says what QEMU would.
 */

const never = new Promise<never>(() => {})
const SOON = { timeoutMs: 5000 }

interface Qemu {
  state: RunState
  isPortOpen: boolean
  blocks: unknown[]
}

/** A machine that is watched, and the QEMU that it is in. */
async function watched({
  complaints = [],
  kernel = '',
}: {
  complaints?: string[]
  kernel?: string
} = {}) {
  const peer = await openPeer(['qmp_capabilities', 'stop', 'cont'])
  const qmp = await greeted(peer)
  const qemu: Qemu = { state: 'running', isPortOpen: true, blocks: [] }
  const { agent, life, until, onFrame, say } = await agentPeer()
  onTestFinished(() => peer[Symbol.asyncDispose]())
  const answers = new AbortController()
  onTestFinished(() => answers.abort())
  let answered = 0
  const answer = () => {
    for (const { execute, id } of peer.commands.slice(answered)) {
      answered++
      if (execute === 'query-status') {
        peer.say({ return: { status: qemu.state, running: qemu.state === 'running' }, id })
      } else if (execute === 'query-chardev') {
        const port = { label: 'agent', 'frontend-open': qemu.isPortOpen }
        peer.say({ return: [{ label: 'klog', 'frontend-open': true }, port], id })
      } else if (execute === 'query-block') peer.say({ return: qemu.blocks, id })
    }
  }
  peer.far.on('data', () => setImmediate(answer))
  const engine = {
    ...{ qmp, host: localHost() },
    qemu: { pid: process.pid, complaints: async () => complaints },
  } as unknown as Engine
  const told: string[] = []
  const runs = new RunWatch({
    machine: { engine, agent, kernelLog: { text: kernel } as KernelLog, where: WHERE },
    life,
    panicked: () => told.push('panicked'),
    shutDown: (reason) => told.push(reason),
    crashLoaded: () => told.push('crash loaded'),
  })
  const event = <N extends keyof QmpEvents>(name: N, data?: QmpEvents[N]) =>
    peer.say({ event: name, data, timestamp: { seconds: 1, microseconds: 0 } })
  const stop = (state: RunState) => {
    qemu.state = state
    event('STOP')
  }
  /** As a VM is begun with, once what was asked then is answered. */
  const begin = async () => {
    runs.begin()
    await qmp.execute('query-status')
  }
  return { begin, peer, qmp, qemu, agent, life, runs, told, event, stop, until, onFrame, say }
}

const WHERE = { vm: 'vm0', dut: 'dut0' }

/** The error that a wait fails with. */
const failure = (life: { signal: AbortSignal }): Promise<Error> =>
  waitFor(never, { ...SOON, signal: life.signal }).catch((error: Error) => error)

test.each<[RunState, typeof InfrastructureError | typeof GuestError, RegExp]>([
  [
    'internal-error',
    InfrastructureError,
    /stands still: KVM cannot go on with it[\s\S]*\| KVM internal error. Suberror: 1\n→ vm.reset\(\), or accel: 'tcg'/,
  ],
  ['watchdog', GuestError, /stands still: the guest's watchdog has run out/],
  ['guest-panicked', GuestError, /stands still: its kernel has panicked/],
  ['shutdown', GuestError, /stands still: the guest has powered itself off/],
  ['debug', InfrastructureError, /QEMU has stopped it, in the state "debug"/],
])('a QEMU that stops with "%s" fails what waits and what comes', async (state, Family, text) => {
  const complaints = ['KVM internal error. Suberror: 1']
  const { begin, life, runs, stop, event, qemu } = await watched({ complaints })
  await begin()
  const waiting = failure(life)
  stop(state)
  const error = await waiting
  expect(error).toBeInstanceOf(Family)
  expect(error.message).toMatch(/^dut0\/vm0: the VM stands still: /)
  expect(error.message).toMatch(text)
  expect(await failure(life)).toBe(error)
  expect(runs.isPaused).toBe(true)
  qemu.state = 'running'
  event('RESUME')
  await poll(() => !runs.isPaused || undefined, SOON)
  expect(life.signal.aborted).toBe(false)
})

test('a guest that suspends itself is told to be, until it wakes up', async () => {
  const { begin, life, event, qemu } = await watched()
  await begin()
  const waiting = failure(life)
  qemu.state = 'suspended'
  event('SUSPEND')
  expect((await waiting).message).toMatch(
    /the guest has suspended itself to memory\n→ vm.qmp\('system_wakeup'\)/,
  )
  event('WAKEUP')
  await poll(() => !life.signal.aborted || undefined, SOON)
})

test('stops of our own fail nothing; a mishap during one does, and after it', async () => {
  const { begin, life, runs, stop, event, qemu } = await watched()
  await begin()
  const { signal } = life
  await runs.own(async () => {
    stop('paused')
    stop('finish-migrate')
    qemu.state = 'running'
    event('RESUME')
  })
  await poll(() => !runs.isPaused || undefined, SOON)
  expect(signal.aborted).toBe(false)
  const waiting = failure(life)
  const over = Promise.withResolvers<void>()
  const own = runs.own(() => over.promise)
  stop('io-error')
  expect((await waiting).message).toMatch(/QEMU cannot read or write a disk of it/)
  over.resolve()
  await own
  expect((await failure(life)).message).toMatch(/QEMU cannot read or write a disk/)
  expect(runs.isPaused).toBe(true)
})

test('a step of ours is over when it is known that the machine goes on', async () => {
  const { begin, runs, stop, qemu } = await watched()
  await begin()
  for (let i = 0; i < 20; i++) {
    await runs.own(async () => {
      stop('paused')
      for (let turns = 0; turns < 10; turns++) await turn() // it is heard
      qemu.state = 'running'
    })
    expect(runs.isPaused).toBe(false)
  }
})

test('a step of ours that ends while the machine stands still says so', async () => {
  const { begin, life, runs, stop } = await watched()
  await begin()
  const waiting = failure(life)
  await runs.own(async () => stop('paused'))
  expect((await waiting).message).toMatch(/paused by vm.qmp\('stop'\)/)
})

test('a disk is named as QEMU knows it, also by its device alone, with the file that is written', async () => {
  const { begin, life, stop, event, qemu } = await watched()
  await begin()
  const dir = await mkdtemp(join(tmpdir(), 'still-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  const image = { driver: 'qcow2', file: { driver: 'file', filename: `${dir}/overlay` } }
  qemu.blocks = [
    { device: 'root', qdev: '/x', inserted: { drv: 'raw', ro: true, file: '/r' } },
    {
      ...{ device: '', qdev: '/machine/peripheral-anon/device[5]' },
      inserted: { drv: 'qcow2', ro: false, file: `json:${JSON.stringify(image)}` },
    },
  ]
  const waiting = failure(life)
  event('BLOCK_IO_ERROR', {
    ...{ device: '', 'qom-path': '/machine/peripheral-anon/device[5]/virtio-backend' },
    ...{ operation: 'write', action: 'stop', reason: 'Input/output error' },
  })
  stop('io-error')
  expect((await waiting).message).toContain(`in ${dir}/overlay: Input/output error\n→ mend that`)
})

test('an error of a disk that the guest is told of stops nothing', async () => {
  const { begin, life, event, qmp } = await watched()
  await begin()
  event('BLOCK_IO_ERROR', {
    ...{ device: 'disk0', operation: 'read', action: 'report', reason: 'Input/output error' },
  })
  await qmp.execute('query-status')
  expect(life.signal.aborted).toBe(false)
})

test('an agent whose port was closed fails what is under way and what comes, until it is back', async () => {
  const kernel = '[9.1] Out of memory: Killed process 86 (vitest-dut-agen) total-vm:1kB\n[9.2] x\n'
  const { begin, agent, event, qemu } = await watched({ kernel })
  await begin()
  const lost: Error[] = []
  agent.open(
    () => {},
    (error) => lost.push(error),
  )
  const hello = agent.hello(SOON).catch((error: Error) => error)
  qemu.isPortOpen = false
  event('VSERPORT_CHANGE', { id: 'qga', open: false })
  event('VSERPORT_CHANGE', { id: 'agent', open: false })
  expect(await hello).toBeInstanceOf(GuestError)
  expect(lost[0]?.message).toMatch(
    /^dut0\/vm0: the agent in the guest was killed by the guest's kernel, for want of memory\n.*\n.*Killed process 86/,
  )
  expect(() => agent.open(() => {})).toThrow(/the agent in the guest was killed/)
  qemu.isPortOpen = true
  event('VSERPORT_CHANGE', { id: 'agent', open: true })
  await poll(() => agent.isThere || undefined, SOON)
  agent.open(() => {})
})

test('a port that is open again by the time that QEMU tells of it was not lost', async () => {
  const { begin, agent, event, qmp } = await watched()
  await begin()
  event('VSERPORT_CHANGE', { id: 'agent', open: false })
  for (let i = 0; i < 2; i++) await qmp.execute('query-chardev')
  expect(agent.isThere).toBe(true)
})

test('a port that was closed during a step of ours is looked at behind it', async () => {
  const { begin, agent, runs, event, qemu } = await watched()
  await begin()
  const lost = Promise.withResolvers<Error>()
  agent.open(() => {}, lost.resolve)
  await runs.own(async () => {
    qemu.isPortOpen = false
    event('VSERPORT_CHANGE', { id: 'agent', open: false })
    await runs.own(async () => {})
  })
  expect((await waitFor(lost.promise, SOON)).message).toMatch(/has ended, or lost its port/)
})

test('a pause on purpose fails nothing, and says why what is late is late', async () => {
  const { begin, life, runs, qemu, qmp, event, peer } = await watched()
  await begin()
  const { signal } = life
  const pausing = runs.pause()
  await poll(() => peer.commands.find(({ execute }) => execute === 'stop'), SOON)
  qemu.state = 'paused'
  event('STOP')
  await pausing
  for (let i = 0; i < 2; i++) await qmp.execute('query-status')
  expect(runs.isPaused).toBe(true)
  expect(life.still).toEqual({ hint: 'the VM is paused: vm.resume() lets it go on' })
  expect(signal.aborted).toBe(false)
})

test('panics, and kernels that deal with them, are passed on', async () => {
  const { begin, event, told, qmp } = await watched()
  await begin()
  event('GUEST_PANICKED', { action: 'pause' })
  event('GUEST_CRASHLOADED', { action: 'run' })
  event('SHUTDOWN', { guest: true, reason: 'guest-reset' })
  await qmp.execute('query-status')
  expect(told).toEqual(['panicked', 'crash loaded', 'guest-reset'])
})
