import { constants } from 'node:fs'
import { type FileHandle, open, readdir } from 'node:fs/promises'
import type { SharedFile } from './host.ts'

/*
 * Files in a folder that others can write to, too: a link that somebody left there is never followed,
 * and nobody's file is taken for a new one of ours.
 */
const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** See `Host.readShared`. */
export async function readShared(folder: string, names: RegExp): Promise<SharedFile[]> {
  const found = (await readdir(folder)).filter((name) => names.test(name))
  const files = await Promise.all(found.map((name) => readOne(folder, name)))
  return files.filter((file) => file !== undefined)
}

async function readOne(folder: string, name: string): Promise<SharedFile | undefined> {
  let file: FileHandle | undefined
  try {
    // Without O_NONBLOCK a FIFO of that name would hold us up for ever.
    file = await open(`${folder}/${name}`, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    const facts = await file.stat()
    if (!facts.isFile()) return undefined
    return { name, uid: facts.uid, text: await file.readFile('utf8') }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'EACCES') return undefined
    throw error
  } finally {
    await file?.close()
  }
}

/** See `Host.createShared`. */
export async function createShared(path: string, text: string): Promise<void> {
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)
  try {
    await file.chmod(0o644) // whatever the umask: others read it to know what is taken
    await file.writeFile(text)
  } finally {
    await file.close()
  }
}

/** See `Host.appendShared`. */
export async function appendShared(path: string, text: string): Promise<void> {
  const file = await open(path, O_WRONLY | O_APPEND | O_NOFOLLOW)
  try {
    await file.writeFile(text)
  } finally {
    await file.close()
  }
}
