import { access, constants, stat } from 'node:fs/promises'
import type { FileFacts } from './host.ts'

/** What is at a path of this machine, links followed; undefined where nothing is. */
export async function fileFacts(path: string): Promise<FileFacts | undefined> {
  try {
    const { size, mtimeMs, mode, uid, gid } = await stat(path)
    const may = (right: number) =>
      access(path, right).then(
        () => true,
        () => false,
      )
    const [readable, writable] = await Promise.all([may(constants.R_OK), may(constants.W_OK)])
    return { size, mtimeMs, mode: mode & 0o7777, uid, gid, readable, writable }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}

/** Full path of a program of this machine, as a shell finds it. */
export async function findProgram(file: string): Promise<string | undefined> {
  const folders = file.includes('/') ? [''] : (process.env.PATH ?? '').split(':')
  for (const folder of folders) {
    const path = folder === '' ? file : `${folder}/${file}`
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (found) return path
  }
  return undefined
}
