import {
  chmod,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'

const host = localHost()
const ROOT = userInfo().uid === 0
let dir = ''
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shared-'))
})
afterEach(() => rm(dir, { recursive: true }))

const at = (name: string) => join(dir, name)
const read = () => host.readShared(dir, /^record-/)
const names = async () => (await read()).map(({ name }) => name).sort()

test('files are read whose names match, with their text and whose they are', async () => {
  await writeFile(at('record-1'), 'one\n')
  await writeFile(at('record-2'), '')
  await writeFile(at('another'), 'no')
  const uid = userInfo().uid
  const found = (await read()).sort((a, b) => (a.name < b.name ? -1 : 1))
  expect(found).toEqual([
    { name: 'record-1', uid, text: 'one\n' },
    { name: 'record-2', uid, text: '' },
  ])
})

describe('where others can put what they like', () => {
  beforeEach(() => writeFile(at('record-1'), 'ours'))

  test.each<[string, () => Promise<unknown>]>([
    ['a link to a file', () => symlink(at('record-1'), at('record-x'))],
    ['a link to nowhere', () => symlink('nowhere', at('record-x'))],
    ['a link to itself', () => symlink('record-x', at('record-x'))],
    ['a link to a device that never ends', () => symlink('/dev/zero', at('record-x'))],
    ['a folder', () => mkdir(at('record-x'))],
    ['a FIFO', () => host.run('mkfifo', [at('record-x')])],
    ['a socket', () => listenAt(at('record-x'))],
    ['more than can be read', () => sparse(at('record-x'), 3 * 2 ** 30)],
  ])('%s is passed over', async (_, make) => {
    await make()
    expect(await names()).toEqual(['record-1'])
  })

  test.runIf(ROOT)('what cannot be read is passed over', async () => {
    await writeFile(at('record-x'), 'secret')
    await chmod(at('record-x'), 0)
    await chmod(dir, 0o755)
    const module = join(import.meta.dirname, '../../src/host/local.ts')
    const code = `
      import { localHost } from '${module}'
      console.log(JSON.stringify(await localHost().readShared('${dir}', /^record-/)))`
    const node = [process.execPath, '--input-type=module-typescript', '-e', code]
    const user = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--']
    const { stdout } = await host.run('setpriv', [...user, ...node])
    expect(JSON.parse(stdout)).toEqual([{ name: 'record-1', uid: 0, text: 'ours' }])
  })

  test('what goes away while it is read is passed over', async () => {
    const coming = async () => {
      for (let i = 0; i < 300; i++) {
        await writeFile(at('record-x'), 'x')
        await rm(at('record-x'))
      }
    }
    const reading = async () => {
      for (let i = 0; i < 100; i++) expect(await names()).toContain('record-1')
    }
    await Promise.all([coming(), reading()])
  })

  const taken: [string, () => Promise<unknown>][] = [
    ['a file', () => writeFile(at('new'), 'theirs')],
    ['a link to a file', () => symlink('record-1', at('new'))],
    ['a link to a new file', () => symlink('victim', at('new'))],
    ['a second name of a file', () => link(at('record-1'), at('new'))],
    ['a folder', () => mkdir(at('new'))],
    ['a FIFO', () => host.run('mkfifo', [at('new')])],
  ]

  test.each(taken)('%s is not taken for a new one of ours', async (_, make) => {
    await make()
    const before = (await readdir(dir)).sort()
    const error = await host.createShared(at('new'), 'text').catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain(`${at('new')} cannot be written: EEXIST`)
    expect((await readdir(dir)).sort()).toEqual(before)
    expect(await readFile(at('record-1'), 'utf8')).toBe('ours')
  })

  test.each<[string, () => Promise<unknown>]>([
    ['a link to a file', () => symlink('record-1', at('old'))],
    ['a folder', () => mkdir(at('old'))],
    ['a FIFO', () => host.run('mkfifo', [at('old')])],
    ['nothing', async () => {}],
  ])('%s in the place of one of ours is not added to', async (_, make) => {
    await make()
    await expect(host.appendShared(at('old'), 'more')).rejects.toThrow(
      `${at('old')} cannot be written`,
    )
    expect(await readFile(at('record-1'), 'utf8')).toBe('ours')
    await expect(stat(at('victim'))).rejects.toThrow('ENOENT')
  })
})

describe('a file of ours', () => {
  test('can be read by all and written by us, whatever the umask, and be added to', async () => {
    const before = process.umask(0o077)
    await host.createShared(at('record-1'), 'one\n').finally(() => process.umask(before))
    expect((await stat(at('record-1'))).mode & 0o777).toBe(0o644)
    await host.appendShared(at('record-1'), 'two\n')
    expect((await read()).map(({ text }) => text)).toEqual(['one\ntwo\n'])
  })

  test.runIf(ROOT)('for which there is no room is not left half written', async () => {
    const module = join(import.meta.dirname, '../../src/host/local.ts')
    const code = `
      import { localHost } from '${module}'
      const host = localHost()
      const tell = (error) => console.log(error.message)
      await host.createShared('${dir}/record-1', 'x'.repeat(100_000)).catch(tell)
      console.log((await host.listDir('${dir}')).length)`
    const script = `mount -t tmpfs -o size=16k tmpfs ${dir} && exec "$@"`
    const node = [process.execPath, '--input-type=module-typescript', '-e', code]
    const { stdout } = await host.run('unshare', ['--mount', 'sh', '-c', script, 'sh', ...node])
    expect(stdout).toMatch(/record-1 cannot be written: ENOSPC.*\n→ make room .*\n0\n$/)
  })
})

async function listenAt(path: string): Promise<void> {
  const server = createServer()
  onTestFinished(() => void server.close())
  await new Promise<void>((resolve) => server.listen(path, resolve))
}

async function sparse(path: string, bytes: number): Promise<void> {
  await writeFile(path, '')
  await truncate(path, bytes)
}
