import { AbortController } from '../../abort.ts'
import type { Login } from '../../console/login-prompt.ts'
import { Shell } from '../../console/shell.ts'
import { asError, DutError, GuestError } from '../../errors.ts'
import { asideOf } from '../../guest-protocol/exec.ts'
import { isBuiltIn } from '../../qemu/guest-args.ts'
import { stopSignal } from '../../scope.ts'
import { performance } from '../../time.ts'
import { waitFor } from '../../wait.ts'
import { orDeath } from '../instance/exit-cause.ts'
import type { VmSite } from '../instance/host-services.ts'
import { type LaunchOptions, launch } from '../instance/launch.ts'
import { discard } from '../instance/qemu-instance.ts'
import type { Machine } from '../instance/running-guest.ts'
import type { ResolvedSpec } from '../spec/spec.ts'
import { enterShell, startAgent } from './login.ts'

export interface BootOptions extends Omit<LaunchOptions, 'onStage' | 'timeoutMs'> {
  /** From QEMU's start to the first answer of the guest's shell. */
  bootTimeoutMs: number
  /** Called as each stage begins. */
  onStage: (stage: string) => void
  /** Done as soon as QEMU is up. */
  onLaunched?: (machine: Machine) => Promise<void>
  /** Of a guest of the user's own. */
  login?: Login
}

/** A guest whose shell and agent have answered. */
export interface Booted {
  machine: Machine
  shell: Shell
}

/**
 * Boots a guest from its kernel on. Nothing is left of it where that fails.
 *
 * @throws GuestError when the guest does not come up in time, with its kernel's last lines
 */
export async function boot(
  site: VmSite,
  spec: ResolvedSpec,
  { bootTimeoutMs, signal, onStage, onLaunched, login, ...options }: BootOptions,
): Promise<Booted> {
  let stage = 'qemu'
  let isUp = false
  const reach = (next: string) => {
    if (isUp) return // it starts anew, which is not this boot
    stage = next
    onStage(next)
  }
  reach('qemu')
  const machine = await launch(site, spec, {
    ...{ ...options, signal, timeoutMs: bootTimeoutMs, onStage: reach },
  })
  if (stage === 'qemu') reach('kernel')
  const shell = new Shell(machine.console, { lookAside: asideOf(machine) })
  const enter = async (stop: AbortSignal) => {
    await enterShell(machine, { login, signal: stop, onStage: reach })
    if (machine.noShell) return
    await shell.ready({ signal: stop })
    reach('agent')
    await startAgent(machine, shell, stop)
  }
  try {
    await onLaunched?.(machine)?.catch(async (error) => {
      throw await orDeath(error, machine)
    })
    await awaitReady(machine, {
      ...{ bootTimeoutMs, signal, stage: () => stage },
      ready: (stop) =>
        isBuiltIn(options.boot) ? Promise.all([machine.agent.hello(), shell.ready()]) : enter(stop),
    })
  } catch (error) {
    await discard(machine)
    throw error
  }
  isUp = true
  return { machine, shell }
}

const HINT = 'a slow host needs a longer bootTimeout; else look at the kernel lines above'
const HINTS: Record<string, string> = {
  login: `a slow host needs a longer bootTimeout; a guest that asks in other words, login: { loginPrompt }, and one that has asked and been answered, login: { shellPrompt }`,
}

async function awaitReady(
  machine: Machine,
  {
    bootTimeoutMs,
    signal,
    stage,
    ready,
  }: {
    bootTimeoutMs: number
    signal?: AbortSignal
    stage(): string
    ready(stop: AbortSignal): Promise<unknown>
  },
): Promise<void> {
  const { life, where, startedAt } = machine
  const over = new AbortController()
  try {
    await waitFor(ready(over.signal), {
      timeoutMs: Math.max(1, bootTimeoutMs - (performance.now() - startedAt)),
      signal: stopSignal(life.signal, signal),
      onTimeout: () =>
        new GuestError(`the guest did not come up, it got as far as "${stage()}"`, {
          ...where,
          elapsedMs: performance.now() - startedAt,
          tail: machine.tail(),
          hint: HINTS[stage()] ?? HINT,
        }),
    })
  } catch (error) {
    if (error instanceof DutError && error.tail !== undefined) throw error
    if (error === life.still?.cause) throw error
    if (signal?.aborted) throw error
    throw new GuestError(`the guest did not boot (stage "${stage()}"): ${asError(error).message}`, {
      tail: machine.tail(),
      elapsedMs: performance.now() - startedAt,
      cause: error,
    })
  } finally {
    over.abort()
  }
}
