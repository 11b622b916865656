import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'
import { poll } from '../../src/wait.ts'
import { startProcess } from '../support/process.ts'

const host = localHost()
let dir = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lock-'))
})
afterAll(() => rm(dir, { recursive: true }))

let files = 0
const fresh = () => join(dir, `file-${files++}`)
const tryLock = (path: string) => host.lock(path, { wait: false })

describe('a lock', () => {
  test('is held by one at a time, also within a process, and handed on', async () => {
    const path = fresh()
    const first = await host.lock(path)
    expect(await tryLock(path)).toBeUndefined()
    let got = false
    const second = host.lock(path).then((lock) => {
      got = true
      return lock
    })
    expect(await tryLock(path)).toBeUndefined()
    expect(got).toBe(false)
    await first.release()
    const lock = await second
    expect(await tryLock(path)).toBeUndefined()
    await lock.release()
    await (await tryLock(path))?.release()
  })

  test('counts right among many, and nobody is in twice', async () => {
    const path = fresh()
    let inside = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const lock = await host.lock(path)
        most = Math.max(most, ++inside)
        await new Promise(setImmediate)
        inside -= 1
        await lock.release()
      }),
    )
    expect(most).toBe(1)
  })

  test('released twice does not let go of somebody else’s', async () => {
    const path = fresh()
    const first = await host.lock(path)
    await first.release()
    const second = await host.lock(path)
    await first.release()
    expect(await tryLock(path)).toBeUndefined()
    await second.release()
  })

  test('keeps a note in the file while it is held', async () => {
    const path = fresh()
    await writeFile(path, 'something longer of an owner that was killed')
    const lock = await host.lock(path, { note: 'held by me' })
    expect(await readFile(path, 'utf8')).toBe('held by me')
    await lock.release()
    expect(await readFile(path, 'utf8')).toBe('')
  })

  test('makes a file that every user can lock, and never removes it', async () => {
    const path = fresh()
    const before = process.umask(0o077)
    const lock = await host.lock(path).finally(() => process.umask(before))
    expect((await stat(path)).mode & 0o777).toBe(0o666)
    const { ino } = await stat(path)
    await lock.release()
    expect((await stat(path)).ino).toBe(ino)
  })

  test('can be on a folder, without a note', async () => {
    const path = fresh()
    await mkdir(path)
    const lock = await host.lock(path, { note: 'x' })
    expect(await tryLock(path)).toBeUndefined()
    await lock.release()
    await (await tryLock(path))?.release()
  })

  test('of a process that is killed is free again', async () => {
    const path = fresh()
    const holder = startProcess('hold-lock.ts', [path], { lockDir: dir })
    expect(await holder.line()).toBe('held')
    expect(await tryLock(path)).toBeUndefined()
    const waiting = host.lock(path)
    await holder.kill('SIGKILL')
    await (await waiting).release()
  })

  test('does not pass to programs that are started while it is held', async () => {
    const path = fresh()
    const lock = await host.lock(path)
    // Between fork and exec it has the file open for a moment, so it has to have begun.
    const pty = host.openPty('sh', ['-c', 'echo; exec tail -f /dev/null'])
    await new Promise<void>((resolve) => pty.onData(() => resolve()))
    await lock.release()
    const again = await tryLock(path)
    expect(again).toBeDefined()
    await again?.release()
    pty.kill()
    await pty.exited
  })
})

describe('a shared lock', () => {
  const tryShared = (path: string) => host.lock(path, { shared: true, wait: false })

  test('is held by several at once, and by none beside an exclusive one', async () => {
    const path = fresh()
    const readers = [await tryShared(path), await tryShared(path)]
    expect(readers.every(Boolean)).toBe(true)
    expect(await tryLock(path)).toBeUndefined()
    await readers[0]?.release()
    expect(await tryLock(path)).toBeUndefined()
    await readers[1]?.release()
    const writer = await tryLock(path)
    expect(writer).toBeDefined()
    expect(await tryShared(path)).toBeUndefined()
    const waiting = host.lock(path, { shared: true })
    await writer?.release()
    await (await waiting).release()
  })

  test('writes no note, and removes that of an owner that was killed', async () => {
    const path = fresh()
    await writeFile(path, 'an owner that was killed')
    const lock = await host.lock(path, { shared: true, note: 'x' })
    expect(await readFile(path, 'utf8')).toBe('')
    await lock.release()
    expect(await readFile(path, 'utf8')).toBe('')
  })

  test('of a process that is killed is free again', async () => {
    const path = fresh()
    const holder = startProcess('hold-lock.ts', [path, 'shared'], { lockDir: dir })
    expect(await holder.line()).toBe('held')
    expect(await tryLock(path)).toBeUndefined()
    const waiting = host.lock(path)
    await holder.kill('SIGKILL')
    await (await waiting).release()
  })
})

describe('locks with one line', () => {
  test('are given in the order of asking, shared or not, and the line is free then', async () => {
    const [path, line] = [fresh(), fresh()]
    const order: string[] = []
    const ask = (who: string, shared: boolean) =>
      host.lock(path, { shared, line }).then((lock) => {
        order.push(who)
        return lock
      })
    const first = await host.lock(path, { shared: true, line })
    const writer = ask('writer', false)
    await poll(async () => (await host.held([line]))[0] || undefined, { timeoutMs: 20_000 })
    const reader = ask('reader', true)
    // Without naming the line one need not stand in it, which shows that the reader could have come in.
    await (await host.lock(path, { shared: true })).release()
    await first.release()
    const { release } = await writer
    expect(order).toEqual(['writer'])
    await release()
    const last = await reader
    expect(order).toEqual(['writer', 'reader'])
    expect(await host.held([line, path])).toEqual([false, true])
    await last.release()
  })

  test('a wait that is ended keeps nobody behind it', async () => {
    const [path, line] = [fresh(), fresh()]
    const first = await host.lock(path, { line })
    const stop = new AbortController()
    const second = host.lock(path, { line, signal: stop.signal })
    await poll(async () => (await host.held([line]))[0] || undefined, { timeoutMs: 20_000 })
    const third = host.lock(path, { line })
    stop.abort(new Error('enough'))
    await expect(second).rejects.toThrow('enough')
    await first.release()
    await (await third).release()
    expect(await host.held([line, path])).toEqual([false, false])
  })

  test('a line that is a link is refused, and nothing stays locked', async () => {
    const [path, line] = [fresh(), fresh()]
    await symlink('/etc/hostname', line)
    await expect(host.lock(path, { line })).rejects.toThrow(
      `the lock file ${line} cannot be opened`,
    )
    expect(await host.held([path])).toEqual([false])
  })
})

describe('who may only read the file', () => {
  // As root one reads and writes everything, so it is somebody else who asks.
  const asNobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--']
  const sticky = async (mode: number) => {
    const folder = fresh()
    await mkdir(folder)
    await chmod(dir, 0o755)
    await chmod(folder, 0o1777)
    const path = join(folder, 'theirs')
    await writeFile(path, 'their own')
    await chmod(path, mode)
    return path
  }

  test.runIf(userInfo().uid === 0).each([[[]], [['shared']]])('locks it %s', async (how) => {
    const path = await sticky(0o644)
    const other = startProcess('hold-lock.ts', [path, ...how], {
      ...{ lockDir: dir, prefix: asNobody },
    })
    expect(await other.line()).toBe('held')
    expect(await host.held([path])).toEqual([true])
    expect(await tryLock(path)).toBeUndefined()
    await other.kill()
    expect(await host.held([path])).toEqual([false])
    expect(await readFile(path, 'utf8')).toBe('their own')
  })

  test.runIf(userInfo().uid === 0)(
    'not even that: the file is named, and taken as held',
    async () => {
      const path = await sticky(0o600)
      const code = `
    import { localHost } from '${join(import.meta.dirname, '../../src/host/local.ts')}'
    console.log(await localHost().held(['${path}']))
    await localHost().lock('${path}').catch((error) => console.log(error.message))`
      const [file = '', ...args] = [...asNobody, process.execPath, '--input-type=module-typescript']
      const { stdout } = await host.run(file, [...args, '-e', code])
      expect(stdout).toContain('[ true ]')
      expect(stdout).toMatch(/the lock file .*theirs cannot be opened: .*EACCES/)
    },
  )
})

describe('whether locks are held', () => {
  test('each path for itself, whatever its name, in either mode, file or folder', async () => {
    const name = (text: string) => join(dir, text)
    const [shared, exclusive, free] = [name('a b'), name('-n $(x) "\n\' *'), name('ü %20')]
    const [folder, heldFolder, none] = [fresh(), fresh(), name('not there')]
    await writeFile(free, 'a note of somebody dead')
    await Promise.all([mkdir(folder), mkdir(heldFolder)])
    const locks = await Promise.all([
      host.lock(shared, { shared: true }),
      host.lock(exclusive),
      host.lock(heldFolder),
    ])
    const paths = [shared, free, none, exclusive, folder, heldFolder]
    expect(await host.held(paths)).toEqual([true, false, false, true, false, true])
    await Promise.all(locks.map((lock) => lock.release()))
    expect(await host.held(paths)).toEqual(paths.map(() => false))
    await expect(stat(none)).rejects.toThrow('ENOENT')
  })

  test('a link, which could lead anywhere, and a pipe, which could wait for ever, are', async () => {
    const [link, dangling, pipe] = [fresh(), fresh(), fresh()]
    await symlink('/etc/hostname', link)
    await symlink(join(dir, 'elsewhere'), dangling)
    await host.run('mkfifo', [pipe])
    expect(await host.held([link, dangling, pipe])).toEqual([true, true, true])
  })

  test('by a process that a flock(1) locked for, until that is killed', async () => {
    const path = fresh()
    const holder = startProcess('hold-lock.ts', [path], { lockDir: dir })
    expect(await holder.line()).toBe('held')
    expect(await host.held([path])).toEqual([true])
    await holder.kill('SIGKILL')
    expect(await host.held([path])).toEqual([false])
  })

  test('asking holds nothing on, and none asked costs nothing', async () => {
    const path = fresh()
    await writeFile(path, '')
    for (let i = 0; i < 20; i++) {
      expect(await host.held([path, path])).toEqual([false, false])
      const lock = await tryLock(path)
      expect(lock).toBeDefined()
      await lock?.release()
    }
    expect(await host.held([])).toEqual([])
  })

  test('64 at once', async () => {
    const paths = Array.from({ length: 64 }, fresh)
    const locks = await Promise.all(
      paths.map((path, i) => (i % 3 === 0 ? host.lock(path) : undefined)),
    )
    expect(await host.held(paths)).toEqual(paths.map((_, i) => i % 3 === 0))
    await Promise.all(locks.map((lock) => lock?.release()))
  })
})

describe('a wait for a lock', () => {
  test('ends with its signal’s reason, and does not get the lock later', async () => {
    const path = fresh()
    const lock = await host.lock(path)
    const stop = new AbortController()
    const waiting = host.lock(path, { signal: stop.signal })
    stop.abort(new Error('the test is over'))
    await expect(waiting).rejects.toThrow('the test is over')
    await lock.release()
    await (await tryLock(path))?.release()
  })

  test('that is aborted already does not make the file', async () => {
    const path = fresh()
    const signal = AbortSignal.abort(new Error('over'))
    await expect(host.lock(path, { signal })).rejects.toThrow('over')
    await expect(stat(path)).rejects.toThrow('ENOENT')
  })
})

test.each<[string, () => Promise<string>, string]>([
  ['its folder is not there', async () => join(dir, 'none/x'), 'VITEST_DUT_LOCK_DIR'],
  [
    'it is a link, which could lead anywhere',
    async () => {
      const path = fresh()
      await symlink(join(dir, 'elsewhere'), path)
      return path
    },
    '→ somebody put something else in its place',
  ],
  [
    'it is a FIFO, in which a note would wait for ever',
    async () => {
      const path = fresh()
      await host.run('mkfifo', [path])
      return path
    },
    'neither a file nor a folder\n→ somebody put something else in its place',
  ],
  [
    'it is a socket',
    async () => {
      const path = fresh()
      const listener = await host.listen(path)
      onTestFinished(() => listener.close())
      return path
    },
    '→ somebody put something else in its place',
  ],
])('a lock file that cannot be opened, because %s, is named', async (_, make, hint) => {
  const path = await make()
  const error = await host.lock(path).catch((error) => error)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain(`the lock file ${path} cannot be opened`)
  expect(error.message).toContain(hint)
  await expect(stat(join(dir, 'elsewhere'))).rejects.toThrow('ENOENT')
})
