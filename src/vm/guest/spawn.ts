import { Program, type SpawnOptions } from '../../console/program.ts'
import { whyEnded } from '../../guest-protocol/exec.ts'
import { openTerminal } from '../../guest-protocol/terminal.ts'
import type { SessionContext } from './session.ts'

/** See `Vm.spawn`. */
export async function spawnProgram(
  { agent, where, life }: SessionContext,
  command: string,
  options: SpawnOptions,
): Promise<Program> {
  const explain = (status: number, elapsedMs: number) =>
    whyEnded({ agent, life, where }, status, elapsedMs).catch(() => undefined)
  const terminal = openTerminal(agent, command, where, options)
  const program = new Program(terminal, command, options, { ...where, life, explain })
  try {
    await program.ready(options)
  } catch (error) {
    terminal.close()
    throw error
  }
  return program
}
