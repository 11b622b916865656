import type { Host } from './host.ts'

/** Bytes; file systems keep some of the last ones to themselves, and what is written comes in pieces. */
const NO_ROOM = 4 << 20

/** Tells whether a folder's file system has no room; false also where that cannot be told. */
export async function isFull(host: Host, folder: string): Promise<boolean> {
  const args = ['--output=avail', '--block-size=1', '--', folder]
  const { stdout } = await host.run('df', args).catch(() => ({ stdout: '' }))
  return Number.parseInt(stdout.split('\n')[1] ?? '', 10) < NO_ROOM
}

/** The folder that a file is in. */
export function folderOf(file: string): string {
  return file.slice(0, Math.max(1, file.lastIndexOf('/')))
}
