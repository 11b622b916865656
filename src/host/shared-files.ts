import { constants } from 'node:fs'
import { type FileHandle, open, readdir, rm } from 'node:fs/promises'
import { firstLine, InfrastructureError } from '../errors.ts'
import type { SharedFile } from './host.ts'

/*
 * Files in a folder that others can write to, too: a link that somebody left there is never followed,
 * nothing that is there holds us up, and nobody's file is taken for a new one of ours.
 */
const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** Bytes; a file of ours has some hundred for each VM. */
const LARGEST = 4 * 2 ** 20

/** Not there any more, a link, not for us to read, a socket. */
const NOT_OURS = ['ENOENT', 'ELOOP', 'EACCES', 'ENXIO']

/** See `Host.readShared`. */
export async function readShared(folder: string, names: RegExp): Promise<SharedFile[]> {
  const all = await readdir(folder).catch((cause) => {
    throw new InfrastructureError(`${folder} cannot be read: ${firstLine(cause)}`, { cause })
  })
  const found = all.filter((name) => names.test(name))
  const files = await Promise.all(found.map((name) => readOne(folder, name)))
  return files.filter((file) => file !== undefined)
}

async function readOne(folder: string, name: string): Promise<SharedFile | undefined> {
  let file: FileHandle | undefined
  try {
    // Without O_NONBLOCK a FIFO of that name would hold us up for ever.
    file = await open(`${folder}/${name}`, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    const facts = await file.stat()
    if (!facts.isFile() || facts.size > LARGEST) return undefined
    return { name, uid: facts.uid, text: await file.readFile('utf8') }
  } catch (error) {
    if (NOT_OURS.includes(String((error as NodeJS.ErrnoException).code))) return undefined
    throw error
  } finally {
    await file?.close()
  }
}

/** See `Host.createShared`. */
export async function createShared(path: string, text: string): Promise<void> {
  await write(path, text, O_CREAT | O_EXCL)
}

/** See `Host.appendShared`. */
export async function appendShared(path: string, text: string): Promise<void> {
  await write(path, text, O_APPEND)
}

async function write(path: string, text: string, how: number): Promise<void> {
  const create = (how & O_CREAT) !== 0
  let file: FileHandle | undefined
  try {
    file = await open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | how, 0o644)
    if (create) await file.chmod(0o644) // whatever the umask: others read it to know what is taken
    await file.writeFile(text)
  } catch (error) {
    if (create && file) await rm(path, { force: true })
    const full = (error as NodeJS.ErrnoException).code === 'ENOSPC'
    throw new InfrastructureError(`${path} cannot be written: ${firstLine(error)}`, {
      ...(full && { hint: 'make room on its file system: df shows how full it is' }),
      cause: error,
    })
  } finally {
    await file?.close()
  }
}
