import { atCallSite } from '../../call-site.ts'
import type { ExecResult } from '../../guest-protocol/exec-result.ts'
import { type Duration, parseDuration } from '../../units.ts'
import type { Machine } from '../instance/running-guest.ts'
import { callGuestAgent } from './call.ts'
import { agentExec, type GuestAgentCommand, type GuestAgentExecOptions } from './exec.ts'
import { type GuestAgentShutdownOptions, shutDownByAgent } from './shutdown.ts'

export interface GuestAgentOptions {
  /**
   * Milliseconds or a string with a unit, for the calls before it, for an agent to be there and for its
   * answer; 30 s where none is given.
   */
  timeout?: Duration
  signal?: AbortSignal
}

export interface GuestAgentInfo {
  /** The agent's, which is that of the QEMU that it comes from. */
  version: string
  /** What it knows; one that is not `enabled` was switched off in the guest. */
  commands: { name: string; enabled: boolean }[]
}

export interface GuestInterface {
  /** `eth0`, `lo`, … */
  name: string
  mac?: string
  addresses: { address: string; family: 'ipv4' | 'ipv6'; prefix: number }[]
}

/**
 * The QEMU guest agent in a guest, by its protocol
 * (https://www.qemu.org/docs/master/interop/qemu-ga-ref.html). Calls at the same time are made one after
 * another. A call that took too long, a reset, a snapshot that was restored or an agent that was started
 * anew does no harm to the next one.
 *
 * All reject with a GuestError where no agent answers in time, and with a GuestAgentError, which has the
 * agent's own words, where it refuses.
 */
export interface GuestAgent {
  /** Resolves when the agent has answered. */
  ping(options?: GuestAgentOptions): Promise<void>
  /** Its version and its commands. */
  info(options?: GuestAgentOptions): Promise<GuestAgentInfo>
  /**
   * Runs a command as the agent's user, root by custom, without a terminal. Bytes arrive exact, up to
   * 16 MB of each stream; a signal's death is status 128 + n.
   *
   * @throws CommandTimeoutError when it has not ended in time; it runs on in the guest
   * @throws CommandFailedError with `check: true`, when its status is not 0
   */
  exec(command: GuestAgentCommand, options?: GuestAgentExecOptions): Promise<ExecResult>
  /** The guest's network interfaces as its kernel has them, with their addresses. */
  networkInterfaces(options?: GuestAgentOptions): Promise<GuestInterface[]>
  /**
   * Shuts the guest down. After `'powerdown'` and `'reboot'` it resolves when nothing is left of the VM,
   * which a reboot ends as well; after `'halt'` when the agent has gone, and the VM is to be stopped.
   *
   * @param options.timeout until then; `'30s'` where none is given
   * @throws GuestError when the guest has not in time
   */
  shutdown(options?: GuestAgentShutdownOptions): Promise<void>
  /** Any command of the protocol: resolves with what it returns, as it is. */
  call(command: string, args?: object, options?: GuestAgentOptions): Promise<unknown>
}

const DEFAULT_TIMEOUT = '30s'

/** @param stop ends the VM, when its guest has ended */
export function openGuestAgent(machine: Machine, stop: () => Promise<void>): GuestAgent {
  const call = async (command: string, args?: object, options: GuestAgentOptions = {}) => {
    const { timeout = DEFAULT_TIMEOUT, signal } = options
    const timeoutMs = parseDuration(timeout, 'timeout')
    return callGuestAgent(machine, command, args, { timeoutMs, signal })
  }
  const agent: GuestAgent = {
    ping: (options) =>
      atCallSite(agent.ping, async () => void (await call('guest-ping', undefined, options))),
    info: (options) =>
      atCallSite(agent.info, async () => infoOf(await call('guest-info', undefined, options))),
    exec: (command, options = {}) =>
      atCallSite(agent.exec, () => agentExec(machine, command, options)),
    networkInterfaces: (options) =>
      atCallSite(agent.networkInterfaces, async () =>
        interfacesOf(await call('guest-network-get-interfaces', undefined, options)),
      ),
    shutdown: (options = {}) =>
      atCallSite(agent.shutdown, () => shutDownByAgent(machine, options, stop)),
    call: (command, args, options) => atCallSite(agent.call, () => call(command, args, options)),
  }
  return agent
}

function infoOf(returned: unknown): GuestAgentInfo {
  const { version, supported_commands: commands } = returned as {
    version: string
    supported_commands: { name: string; enabled: boolean }[]
  }
  return { version, commands: commands.map(({ name, enabled }) => ({ name, enabled })) }
}

/** GuestNetworkInterface and GuestIpAddress of the reference. */
interface Interface {
  name: string
  'hardware-address'?: string
  'ip-addresses'?: {
    'ip-address': string
    'ip-address-type': 'ipv4' | 'ipv6'
    prefix: number
  }[]
}

function interfacesOf(returned: unknown): GuestInterface[] {
  return (returned as Interface[]).map((one) => {
    const { name, 'hardware-address': mac, 'ip-addresses': addresses = [] } = one
    return {
      name,
      ...(mac !== undefined && { mac }),
      addresses: addresses.map((its) => ({
        address: its['ip-address'],
        family: its['ip-address-type'],
        prefix: its.prefix,
      })),
    }
  })
}
