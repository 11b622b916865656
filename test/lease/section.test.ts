import { readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { InfrastructureError, UsageError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'
import { lockPath } from '../../src/lease/folder.ts'
import { section } from '../../src/lease/section.ts'
import { poll } from '../../src/wait.ts'
import { useLockDir } from './lock-dir.ts'
import { startProcess, type TestProcess } from './process.ts'

const locks = useLockDir()
const started: TestProcess[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((process) => process.kill()))
})

function start(script: string, ...args: (string | number)[]): TestProcess {
  const process = startProcess(script, args, { lockDir: locks.path })
  started.push(process)
  return process
}

async function holder(name: string, child = ''): Promise<TestProcess & { child: number }> {
  const process = start('hold-section.ts', name, child)
  const [, pid] = (await process.line()).split(' ')
  return { ...process, child: Number(pid) }
}

/** How many flock(1) wait for a lock of this test's folder. */
async function flocksWaiting(): Promise<number> {
  const { stdout } = await localHost().run('sh', [
    '-c',
    `for f in /proc/[0-9]*/fd/3; do case "$(readlink "$f")" in ${locks.path}/*) echo x;; esac; done`,
  ])
  return stdout.split('x').length - 1
}

describe('one at a time', () => {
  test('over several processes and within each, no count is lost', async () => {
    const file = join(locks.path, '..', 'counter')
    await writeFile(file, '0')
    const processes = Array.from({ length: 4 }, () => start('count-in-section.ts', 'c', file, 25))
    expect(await Promise.all(processes.map((process) => process.line()))).toEqual(
      processes.map(() => 'done'),
    )
    expect(await readFile(file, 'utf8')).toBe('100')
  })

  test('sections of different names do not wait for each other', async () => {
    await section(localHost(), 'one', async () => {
      expect(await section(localHost(), 'other', () => 'in', { timeoutMs: 5000 })).toBe('in')
    })
  })

  test('turns within a process are given in the order of asking', async () => {
    const host = localHost()
    const order: number[] = []
    await Promise.all([1, 2, 3, 4, 5].map((n) => section(host, 's', () => order.push(n))))
    expect(order).toEqual([1, 2, 3, 4, 5])
  })

  test('the result comes through, and an error lets the next one in', async () => {
    const host = localHost()
    expect(await section(host, 's', () => 42)).toBe(42)
    const failing = section(host, 's', () => {
      throw new Error('inside')
    })
    await expect(failing).rejects.toThrow('inside')
    expect(await section(host, 's', () => 43, { timeoutMs: 5000 })).toBe(43)
  })
})

describe('the holder goes away', () => {
  test('killed: the next one is inside at once', async () => {
    const first = await holder('s')
    const waiting = start('hold-section.ts', 's')
    await poll(async () => ((await flocksWaiting()) >= 1 ? true : undefined), { timeoutMs: 20_000 })
    const killedAt = performance.now()
    await first.kill()
    expect(await waiting.line()).toContain('inside')
    expect(performance.now() - killedAt).toBeLessThan(1000)
  })

  test('killed: what it started and left behind does not keep the section', async () => {
    const first = await holder('s', 'leave a child')
    try {
      await first.kill()
      expect(await section(localHost(), 's', () => 'in', { timeoutMs: 5000 })).toBe('in')
      expect(process.kill(first.child, 0), 'the child lives on').toBe(true)
    } finally {
      process.kill(first.child, 'SIGKILL')
    }
  })

  test('the file is made once and its note is gone afterwards', async () => {
    const host = localHost()
    const path = await lockPath(host, 'section-s')
    const inside = await section(host, 's', async () => ({
      inode: (await stat(path)).ino,
      note: JSON.parse(await readFile(path, 'utf8')),
    }))
    expect(inside.note).toMatchObject({ pid: process.pid, folder: process.cwd() })
    await section(host, 's', () => {})
    const after = await stat(path)
    expect(after).toMatchObject({ ino: inside.inode, size: 0 })
    expect(after.mode & 0o777).toBe(0o666)
  })
})

describe('waiting', () => {
  test('too long: the error names the section, the wait and who is inside', async () => {
    const { pid, say, line } = await holder('hugepages')
    const waiting = section(localHost(), 'hugepages', () => {}, { timeoutMs: 300 })
    const error = await waiting.catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toMatch(/section 'hugepages' was not free: held for .* by process/)
    expect(error.message).toContain(`process ${pid} (`)
    expect(error.message).toContain(process.cwd())
    expect(error.elapsedMs).toBeGreaterThanOrEqual(299)
    expect(await flocksWaiting()).toBe(0)
    say('leave')
    expect(await line()).toBe('outside')
    expect(await section(localHost(), 'hugepages', () => 'in', { timeoutMs: 5000 })).toBe('in')
  })

  test('too long within the process: those who still wait get their turn', async () => {
    const host = localHost()
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = section(host, 's', () => promise)
    const second = section(host, 's', () => {}, { timeoutMs: 200 })
    const third = section(host, 's', () => 'third')
    await expect(second).rejects.toThrow("section 's' was not free")
    resolve()
    await first
    expect(await third).toBe('third')
  })

  test('aborted: it ends with the reason, leaves no flock, and never enters later', async () => {
    const { say, line } = await holder('s')
    const stop = new AbortController()
    const fn = vi.fn()
    const waiting = section(localHost(), 's', fn, { signal: stop.signal })
    await poll(async () => ((await flocksWaiting()) === 1 ? true : undefined), {
      timeoutMs: 20_000,
    })
    stop.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    await poll(async () => ((await flocksWaiting()) === 0 ? true : undefined), {
      timeoutMs: 20_000,
    })
    say('leave')
    expect(await line()).toBe('outside')
    expect(await section(localHost(), 's', () => 'in', { timeoutMs: 5000 })).toBe('in')
    expect(fn).not.toHaveBeenCalled()
  })

  test('aborted before: nothing is tried', async () => {
    const signal = AbortSignal.abort(new Error('before'))
    await expect(section(localHost(), 's', () => {}, { signal })).rejects.toThrow('before')
  })

  test('onWait is called once, and only where somebody is inside', async () => {
    const host = localHost()
    const onWait = vi.fn()
    await section(host, 's', () => {}, { onWait })
    expect(onWait).not.toHaveBeenCalled()
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = section(host, 's', () => promise)
    const second = section(host, 's', () => {}, { onWait: () => resolve(onWait()) })
    await Promise.all([first, second])
    expect(onWait).toHaveBeenCalledTimes(1)
    const { say } = await holder('s')
    await section(host, 's', () => {}, { onWait: () => say(`leave ${onWait()}`) })
    expect(onWait).toHaveBeenCalledTimes(2)
  })
})

describe('entering a section from inside', () => {
  test('the same one is refused instead of waiting for ever', async () => {
    const host = localHost()
    const nested = section(host, 's', () =>
      section(host, 'other', () => section(host, 's', () => {})),
    )
    await expect(nested).rejects.toThrow(UsageError)
    await expect(nested).rejects.toThrow("section 's' is entered from inside itself")
  })

  test('what was started inside may enter it once that has ended', async () => {
    const host = localHost()
    const { promise, resolve } = Promise.withResolvers<void>()
    let later: Promise<string> | undefined
    await section(host, 's', () => {
      later = promise.then(() => section(host, 's', () => 'later'))
    })
    resolve()
    expect(await later).toBe('later')
  })
})

test('a link in the place of the lock file is refused', async () => {
  const host = localHost()
  await symlink('/etc/hostname', await lockPath(host, 'section-s'))
  const entering = section(host, 's', () => {})
  await expect(entering).rejects.toThrow(InfrastructureError)
  await expect(entering).rejects.toThrow(/section-s cannot be opened.*ELOOP/)
})
