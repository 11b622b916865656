import { describe, expect, test, vi } from 'vitest'
import { CommandTimeoutError, GuestError, UsageError } from '../../../src/errors.ts'
import { Lifeline } from '../../../src/lifeline.ts'
import { openGuestAgent } from '../../../src/vm/guest-agent/guest-agent.ts'
import type { Machine } from '../../../src/vm/instance/running-guest.ts'
import { type AgentPeer, openAgent, type Request } from '../../support/guest-agent-peer.ts'
import { stopTime } from '../../support/stop-time.ts'

/** The agent of a VM of which there is nothing but the port; a guest's answers come from `answer`. */
async function openVm(answer: (request: Request) => unknown) {
  const peer = await openAgent((request, { say }) => {
    const said = answer(request)
    if (said !== undefined) say(said)
  })
  const life = new Lifeline()
  const machine = {
    ...{ guestAgent: peer.port, life, where: { vm: 'vm0', dut: 'dut0' } },
    ...{ stopping: false, qemu: { exited: new Promise(() => {}) }, kernelLog: { tail: () => '' } },
    qmp: {
      execute: async (command: string) =>
        command === 'query-status' ? { running: true } : [{ label: 'qga', 'frontend-open': true }],
    },
  }
  const agent = openGuestAgent(machine as unknown as Machine, async () => {})
  const dispose = () => peer[Symbol.asyncDispose]()
  return { agent, peer, life, machine, [Symbol.asyncDispose]: dispose }
}

const base64 = (text: string) => Buffer.from(text).toString('base64')

describe('exec', () => {
  const ended = (status: object) => (request: Request) =>
    request.execute === 'guest-exec'
      ? { return: { pid: 41 } }
      : { return: { exited: true, ...status } }

  /** Lets the time of a command pass once the agent has been asked about it. */
  async function pass(exec: Promise<unknown>, { peer }: { peer: AgentPeer }): Promise<void> {
    exec.catch(() => {}) // looked at later
    await peer.asked('guest-exec-status')
    await vi.advanceTimersByTimeAsync(200)
  }

  test('is a shell’s command, or a program, as guest-exec has it', async () => {
    await using vm = await openVm(ended({ exitcode: 3, 'out-data': base64('o'), 'err-data': '' }))
    const result = await vm.agent.exec('a b', { input: 'in', env: { X: 'y z' } })
    expect(result).toMatchObject({ stdout: 'o', stderr: '', exitCode: 3 })
    await vm.agent.exec('a b')
    await vm.agent.exec({ path: '/p', args: ['a b'] }, { env: { X: 'y' } })
    const asked = vm.peer.requests.filter(({ execute }) => execute === 'guest-exec')
    expect(asked.map((request) => request.arguments)).toEqual([
      {
        ...{ path: 'env', arg: ['X=y z', '/bin/sh', '-c', 'a b'] },
        ...{ 'capture-output': true, 'input-data': base64('in') },
      },
      { path: '/bin/sh', arg: ['-c', 'a b'], 'capture-output': true },
      { path: '/p', arg: ['a b'], env: ['X=y'], 'capture-output': true },
    ])
  })

  test('looks until it has ended, less and less often', async () => {
    const startedAt = performance.now()
    await using vm = await openVm(({ execute }) =>
      execute === 'guest-exec'
        ? { return: { pid: 41 } }
        : { return: { exited: performance.now() - startedAt > 1000, signal: 15 } },
    )
    expect(await vm.agent.exec('sleep')).toMatchObject({ exitCode: 143, stdout: '' })
    expect(vm.peer.requests.length).toBeLessThan(50)
    expect(vm.peer.requests.at(-1)?.arguments).toEqual({ pid: 41 })
  })

  test('that prints too much is an error, not a part of it', async () => {
    await using vm = await openVm(ended({ exitcode: 0, 'out-truncated': true }))
    await expect(vm.agent.exec('yes')).rejects.toThrow(
      /"yes" ended with status 0, and printed more than.*16 MB/,
    )
  })

  test('that does not end in time is told, with its process', async () => {
    await using vm = await openVm(ended({ exited: false }))
    stopTime()
    const exec = vm.agent.exec('sleep 9', { timeout: '200ms' })
    await pass(exec, vm)
    await expect(exec).rejects.toBeInstanceOf(CommandTimeoutError)
    await expect(exec).rejects.toThrow(/dut0\/vm0: "sleep 9" did not end in time.*\n.*process 41/)
  })

  test('is told to be too long also where the agent has become slow by then', async () => {
    await using vm = await openVm(({ execute }) =>
      execute === 'guest-exec' ? { return: { pid: 41 } } : undefined,
    )
    stopTime()
    const exec = vm.agent.exec('sleep 9', { timeout: '200ms' })
    await pass(exec, vm)
    await expect(exec).rejects.toBeInstanceOf(CommandTimeoutError)
    // The look that was under way is in nobody's way.
    const next = vm.agent.exec('sleep 9', { timeout: '200ms' })
    await pass(next, vm)
    await expect(next).rejects.toThrow('process 41')
  })

  test('ends with the VM', async () => {
    await using vm = await openVm(({ execute }) => {
      if (execute === 'guest-exec') return { return: { pid: 41 } }
      vm.life.end(new GuestError('the VM is gone'))
      return { return: { exited: false } }
    })
    await expect(vm.agent.exec('sleep 9')).rejects.toThrow('the VM is gone')
  })

  test.each([
    [undefined, {}, 'neither a string nor { path, args }'],
    [{ path: '' }, {}, `vm.agent.exec('uname -r')`],
    ['a', { env: { '-i': '' } }, '-i is no variable'],
    ['a', { timeout: 5 }, 'DTS counted seconds'],
  ])('of %j with %j is refused', async (command, options, message) => {
    await using vm = await openVm(() => undefined)
    const exec = vm.agent.exec(command as never, options as object)
    await expect(exec).rejects.toBeInstanceOf(UsageError)
    await expect(exec).rejects.toThrow(message)
  })
})

test('an agent that is stuck is told of as such, where the call was', async () => {
  await using vm = await openVm(() => undefined)
  stopTime()
  const stuck = vm.agent.ping({ timeout: '100ms' })
  await vm.peer.asked('guest-ping')
  vi.advanceTimersByTime(100)
  await expect(stuck).rejects.toThrow('the guest agent did not answer guest-ping')
  vm.peer.onSync = () => {}
  const absent = vm.agent.ping({ timeout: '100ms' }).catch((error: GuestError) => error)
  await vm.peer.asked('guest-sync-delimited')
  vi.advanceTimersByTime(100)
  const error = await absent
  expect(error).toBeInstanceOf(GuestError)
  expect(error).toMatchObject({ vm: 'vm0', dut: 'dut0', command: 'guest-ping' })
  expect((error as GuestError).hint).toContain('something has its port open')
  expect((error as GuestError).stack).toContain('guest-agent.test.ts')
})

test('interfaces without an address are some, too', async () => {
  const addresses = [{ 'ip-address': 'fe80::1', 'ip-address-type': 'ipv6', prefix: 64 }]
  const eth0 = { name: 'eth0', 'hardware-address': '52:54:00:00:00:01', 'ip-addresses': addresses }
  await using vm = await openVm(() => ({ return: [eth0, { name: 'tun0', statistics: {} }] }))
  expect(await vm.agent.networkInterfaces()).toEqual([
    {
      ...{ name: 'eth0', mac: '52:54:00:00:00:01' },
      addresses: [{ address: 'fe80::1', family: 'ipv6', prefix: 64 }],
    },
    { name: 'tun0', addresses: [] },
  ])
})

describe('shutdown', () => {
  test('of a guest that runs on is told, and its later end is a death again', async () => {
    await using vm = await openVm(() => undefined)
    stopTime()
    const down = vm.agent.shutdown({ timeout: '200ms' })
    await vm.peer.asked('guest-shutdown')
    vi.advanceTimersByTime(200)
    await expect(down).rejects.toThrow('was told "powerdown", and the guest runs on')
    expect(vm.peer.requests[0]?.arguments).toEqual({ mode: 'powerdown' })
    expect(vm.machine.stopping).toBe(false)
  })

  test('that the agent has answered takes no longer than its time either', async () => {
    await using vm = await openVm(() => ({ return: {} }))
    stopTime()
    const down = vm.agent.shutdown({ timeout: '200ms' })
    await vm.agent.ping() // its turn comes when the answer has been read
    vi.advanceTimersByTime(200)
    await expect(down).rejects.toThrow('the guest runs on')
  })

  test('that it refuses is told in its words', async () => {
    const error = { class: 'GenericError', desc: 'no shutdown(8)' }
    await using vm = await openVm(() => ({ error }))
    await expect(vm.agent.shutdown()).rejects.toThrow('no shutdown(8)')
    await expect(vm.agent.shutdown({ mode: 'off' as never })).rejects.toThrow(/"off".*\n.*'halt'/)
  })
})
