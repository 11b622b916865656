import type { Host } from './host.ts'

/** A small file of the host, such as the kernel's own. */
export async function readText(host: Host, path: string): Promise<string> {
  return Buffer.from(await host.readFile(path)).toString()
}
