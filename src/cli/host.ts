import { asError, InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'

/**
 * This machine.
 *
 * @throws InfrastructureError where the module for terminals, which is compiled when this package is
 *   installed, cannot be loaded
 */
export async function openHost(): Promise<Host> {
  try {
    const { localHost } = await import('../host/local.ts')
    return localHost()
  } catch (error) {
    const reason = asError(error).message.split('\n', 1)[0]
    throw new InfrastructureError(`node-pty cannot be loaded: ${reason}`, {
      hint: 'build it, in this project: npm rebuild node-pty',
      cause: error,
    })
  }
}
