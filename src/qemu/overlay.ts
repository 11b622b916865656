import { InfrastructureError } from '../errors.ts'
import type { Host } from '../host/host.ts'

/**
 * Makes an empty qcow2 that begins as another image and takes what is written.
 *
 * @throws InfrastructureError with the words of qemu-img(1)
 */
export async function createOverlay(
  host: Host,
  path: string,
  { file, format }: { file: string; format: string },
): Promise<void> {
  const how = ['create', '-q', '-f', 'qcow2', '-F', format, '-b', file, path]
  const { exitCode, stderr } = await host.run('qemu-img', how)
  if (exitCode === 0) return
  throw new InfrastructureError(`no overlay of ${file} can be made`, { tail: stderr })
}
