import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, relative } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { suiteEnv } from '../../src/fleet/leftovers.ts'
import { openRunFolder } from '../../src/fleet/run-folder.ts'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { useLockDir } from '../support/lock-dir.ts'
import { startProcess } from '../support/process.ts'
import { untilGone } from '../support/processes.ts'

useLockDir()
let host: Host
let top = ''
let base = ''
beforeEach(async () => {
  host = localHost()
  top = await mkdtemp(join(tmpdir(), 'runs-'))
  base = join(top, 'base')
})
afterEach(() => rm(top, { recursive: true }))

const modeOf = async (path: string) => (await stat(path)).mode & 0o777
const runs = async () => (await readdir(base)).filter((name) => name !== 'lock')

function startRun(rounds = 0) {
  const run = startProcess('open-and-stay.ts', [base, rounds], { lockDir: top })
  onTestFinished(() => run.kill())
  return run
}

describe('a run’s folder', () => {
  test('is its owner’s alone, short, and gone when the run is over', async () => {
    const folder = await openRunFolder(host, base)
    expect(folder.path).toMatch(/\/base\/[0-9a-f]{6}$/)
    expect(await modeOf(base)).toBe(0o700)
    expect(await modeOf(folder.path)).toBe(0o700)
    await writeFile(join(folder.path, 'socket'), '')
    await folder.close()
    expect(await runs()).toEqual([])
  })

  test('is not gone before what got away from its suites', async () => {
    const folder = await openRunFolder(host, base)
    const away = spawn('setsid', ['--fork', 'sh', '-c', 'echo $$; exec sleep 1000'], {
      env: { ...process.env, ...suiteEnv(`${folder.path}/suite`) },
    })
    const [pid] = await once(away.stdout, 'data')
    await folder.close()
    await untilGone(Number(pid))
  })

  test('of a run that is alive is left alone by others, who have their own', async () => {
    const first = await openRunFolder(host, base)
    const other = startRun()
    const path = await other.line()
    const second = await openRunFolder(host, base)
    expect((await runs()).sort()).toEqual(
      [first.path, path, second.path].map((p) => basename(p)).sort(),
    )
    await first.close()
    await second.close()
    expect(await runs()).toEqual([basename(path)])
  })

  test('of a run that was killed is swept by the next that starts', async () => {
    const killed = [startRun(), startRun()]
    const paths = await Promise.all(killed.map((run) => run.line()))
    await Promise.all(killed.map((run) => run.kill('SIGKILL')))
    expect(await runs()).toHaveLength(2)
    expect(await readdir(join(paths[0] ?? '', 'suite/vm0'))).toEqual(['qemu.log'])
    const next = await openRunFolder(host, base)
    expect(await runs()).toEqual([basename(next.path)])
    await next.close()
  })

  test('that was made but not locked when its run was killed is swept too', async () => {
    await mkdir(join(base, 'abc123'), { recursive: true, mode: 0o700 })
    await chmod(base, 0o700)
    const next = await openRunFolder(host, base)
    expect(await runs()).toEqual([basename(next.path)])
    await next.close()
  })

  test('can be opened and closed by many at once', async () => {
    const others = [startRun(5), startRun(5)]
    for (let i = 0; i < 5; i++) {
      const folders = await Promise.all([1, 2, 3].map(() => openRunFolder(host, base)))
      expect(new Set(folders.map(({ path }) => path)).size).toBe(3)
      await Promise.all(folders.map((folder) => folder.close()))
    }
    const paths = await Promise.all(others.map((run) => run.line()))
    expect((await runs()).sort()).toEqual(paths.map((path) => basename(path)).sort())
  })
})

describe('a base that somebody chose', () => {
  test('keeps everything in it that is not a run’s', async () => {
    await mkdir(join(base, 'documents'), { recursive: true, mode: 0o700 })
    await mkdir(join(base, 'cafe'))
    await chmod(base, 0o700)
    await writeFile(join(base, 'documents/thesis.tex'), 'years of work')
    await writeFile(join(base, 'notes'), 'x')
    const folder = await openRunFolder(host, base)
    await folder.close()
    expect((await readdir(base)).sort()).toEqual(['cafe', 'documents', 'lock', 'notes'])
    expect(await readdir(join(base, 'documents'))).toEqual(['thesis.tex'])
  })

  test.each([
    [
      'too long',
      () => join(top, 'x'.repeat(67 - top.length)),
      /is too long .*: 68 bytes, the most is 67/,
    ],
    [
      'too long in bytes',
      () => join(top, 'ü'.repeat((68 - top.length) / 2)),
      /is too long .* bytes, the most is 67/,
    ],
    ['with a comma', () => join(top, 'a,b'), /has "," in it, which DPDK cannot read/],
    ['with =', () => join(top, 'a=b/c'), /has "=" in it/],
    ['with a line feed', () => join(top, 'a\nb'), /has "\\n" in it/],
  ])('that is %s is refused before anything is made', async (_, path, why) => {
    const error = await openRunFolder(host, path()).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.shortMessage).toMatch(why)
    expect(error.message).toContain('→ set VITEST_DUT_RUN_DIR to another folder')
    expect(await readdir(top)).toEqual([])
  })

  test.each([
    ['as long as it may be', () => join(top, 'x'.repeat(66 - top.length))],
    ['with blanks and more', () => join(top, `ü (b) 'c' "d" [e]`)],
  ])('that is %s has room for sockets', async (_, path) => {
    const folder = await openRunFolder(host, path())
    const socket = `${folder.path}/1a2b3c4d0/vhost-1a2b3c-31`
    await mkdir(`${folder.path}/1a2b3c4d0`)
    const listener = await host.listen(socket)
    listener.close()
    await folder.close()
  })

  test('that is a relative path is found by processes in other folders', async () => {
    const folder = await openRunFolder(host, relative(process.cwd(), base))
    expect(folder.path.startsWith(`${base}/`)).toBe(true)
    await folder.close()
  })

  test('is named by VITEST_DUT_RUN_DIR', async () => {
    process.env.VITEST_DUT_RUN_DIR = base
    onTestFinished(() => {
      delete process.env.VITEST_DUT_RUN_DIR
    })
    const folder = await openRunFolder(host)
    expect(folder.path.startsWith(`${base}/`)).toBe(true)
    await folder.close()
  })

  test.each([
    ['others can read', () => mkdir(base).then(() => chmod(base, 0o755))],
    ['others can write to', () => mkdir(base).then(() => chmod(base, 0o1777))],
    [
      'is a link to somewhere else',
      async () => {
        await mkdir(join(top, 'elsewhere'), { mode: 0o700 })
        await symlink(join(top, 'elsewhere'), base)
      },
    ],
  ])('that %s is refused, with what to do', async (_, make) => {
    await make()
    const error = await openRunFolder(host, base).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain(`${base} is not a folder of this user's alone`)
    expect(error.message).toContain('→ remove it, or set VITEST_DUT_RUN_DIR')
    expect(await readdir(base)).toEqual([])
  })

  test.skipIf(process.getuid?.() !== 0)('that is somebody else’s is refused', async () => {
    await mkdir(base, { mode: 0o700 })
    await chown(base, 12_345, 12_345)
    await expect(openRunFolder(host, base)).rejects.toThrow("is not a folder of this user's alone")
    expect(await readdir(base)).toEqual([])
  })
})
