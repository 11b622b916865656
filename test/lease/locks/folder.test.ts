import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { InfrastructureError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import { admit } from '../../../src/lease/admission/admit.ts'
import { sweepLeases } from '../../../src/lease/admission/sweep.ts'
import { readLedger } from '../../../src/lease/ledger/records.ts'
import { lockFolder, lockPath } from '../../../src/lease/locks/folder.ts'
import { section } from '../../../src/lease/locks/section.ts'

const ROOT = userInfo().uid === 0
const COMMON = '/run/lock/vitest-dut'

let dir = ''
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'dut-lock-'))
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(dir, { recursive: true })
})

const modeOf = async (path: string) => (await stat(path)).mode & 0o7777

test('the folder of all users, where the machine has one', async () => {
  vi.stubEnv('VITEST_DUT_LOCK_DIR', '')
  const folder = await lockFolder(localHost())
  if (folder !== COMMON) expect(folder).toMatch(/vitest-dut-lock/)
  else expect(await modeOf(folder)).toBe(0o1777)
})

test('names of any letters stay apart and inside the folder', async () => {
  vi.stubEnv('VITEST_DUT_LOCK_DIR', dir)
  const host = localHost()
  const names = ['section-a/b', 'section-a%2Fb', 'section-../../etc', 'section-ä b', 'section-']
  const paths = await Promise.all(names.map((name) => lockPath(host, name)))
  expect(new Set(paths).size).toBe(names.length)
  for (const path of paths) expect(join(path, '..')).toBe(dir)
  expect(await section(host, '../../etc', () => 'in')).toBe('in')
})

describe('a folder that the environment names', () => {
  const wanted = () => join(dir, 'locks')
  const find = (path = wanted()) => {
    vi.stubEnv('VITEST_DUT_LOCK_DIR', path)
    return lockFolder(localHost())
  }

  test('is made for all users whatever the umask', async () => {
    const umask = process.umask(0o077)
    const found = find(join(dir, 'a', 'b')).finally(() => process.umask(umask))
    expect(await found).toBe(join(dir, 'a', 'b'))
    expect(await modeOf(join(dir, 'a', 'b'))).toBe(0o1777)
  })

  test('may be named relative to where the tests run', async () => {
    const before = process.cwd()
    process.chdir(dir)
    const found = find('locks/').finally(() => process.chdir(before))
    expect(await found).toBe(wanted())
  })

  test.each([0o700, 0o755, 0o1770, 0o1777])('may be one’s own, of mode %o', async (mode) => {
    await mkdir(wanted())
    await chmod(wanted(), mode)
    expect(await find()).toBe(wanted())
    expect(await modeOf(wanted())).toBe(mode)
  })

  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'cannot be made',
      () => writeFile(wanted(), '').then(() => 'locks/below'),
      /no folder for lock files can be made: .*Not a directory\n→ set VITEST_DUT_LOCK_DIR/,
    ],
    [
      'is a file',
      () => writeFile(wanted(), ''),
      /is none\n→ remove it, or set VITEST_DUT_LOCK_DIR/,
    ],
    ['is a link', () => symlink(dir, wanted()), /is none\n→ remove it/],
    ['is a dangling link', () => symlink('nowhere', wanted()), /is none\n→ remove it/],
    [
      'all can write and clear',
      () => mkdir(wanted()).then(() => chmod(wanted(), 0o777)),
      /anybody could take others' locks away in .*: it is not sticky\n→ type: chmod 1777 \S*locks$/,
    ],
    [
      'a group can write and clear',
      () => mkdir(wanted()).then(() => chmod(wanted(), 0o770)),
      /it is not sticky\n→ type: chmod 1777/,
    ],
  ])('is refused where it %s, with what to do', async (_, make, message) => {
    const below = await make()
    const path = typeof below === 'string' ? join(dir, below) : wanted()
    const finding = find(path)
    await expect(finding).rejects.toThrow(InfrastructureError)
    await expect(finding).rejects.toThrow(path)
    await expect(finding).rejects.toThrow(message)
  })

  test('is looked at again after a failure', async () => {
    const host = localHost()
    await writeFile(wanted(), '')
    vi.stubEnv('VITEST_DUT_LOCK_DIR', wanted())
    await expect(lockFolder(host)).rejects.toThrow(InfrastructureError)
    vi.stubEnv('VITEST_DUT_LOCK_DIR', dir)
    expect(await lockFolder(host)).toBe(dir)
  })

  test.runIf(ROOT)('is refused where it is another user’s, also if it is open to all', async () => {
    await mkdir(wanted())
    await chmod(wanted(), 0o1777)
    await chown(wanted(), 12_345, 12_345)
    const hint = `→ as root on this machine: chown root: ${wanted()} && chmod 1777 ${wanted()}`
    await expect(find()).rejects.toThrow(`${wanted()}, belongs to user 12345\n${hint}`)
    await chown(wanted(), 0, 0)
    expect(await find()).toBe(wanted())
  })
})

describe('what others put into it', () => {
  const host = localHost()
  const at = (name: string) => join(dir, name)
  const strange: [string, (path: string) => Promise<unknown>][] = [
    ['a link to a file', (path) => symlink(at('victim'), path)],
    ['a link to nowhere', (path) => symlink(at('elsewhere'), path)],
    ['a FIFO', (path) => host.run('mkfifo', [path])],
    ['a folder', (path) => mkdir(path)],
  ]
  beforeEach(async () => {
    vi.stubEnv('VITEST_DUT_LOCK_DIR', dir)
    await writeFile(at('victim'), 'precious')
  })
  afterEach(async () => {
    expect(await readFile(at('victim'), 'utf8')).toBe('precious')
    expect(await readdir(dir)).not.toContain('elsewhere')
  })

  test.each(strange)(
    '%s in the place of a section: an error, or as good as a file',
    async (kind, make) => {
      await make(at('section-s'))
      const entering = section(localHost(), 's', () => 'in', { timeout: '10s' })
      if (kind === 'a folder') expect(await entering).toBe('in')
      else await expect(entering).rejects.toThrow('section-s cannot be opened')
    },
  )

  test('a folder in the place of a section keeps others out, and nothing is told of whom', async () => {
    await mkdir(at('section-s'))
    const hosts = [localHost(), localHost()] as const
    const lock = await hosts[0].lock(at('section-s'))
    const entering = section(hosts[1], 's', () => {}, { timeout: '100ms' })
    await expect(entering).rejects.toThrow(/section 's' was not free: held .*no note/)
    await lock.release()
  })

  test.each(strange)('%s among the records is passed over', async (_, make) => {
    await make(at('lease@0123456789ab'))
    await make(at('wish@0123456789ab'))
    await make(at('owner@0123456789ab'))
    const host = localHost()
    expect(await readLedger(host)).toEqual({ leases: [], wishes: [] })
    const [lease] = await admit(host, [{ dut: 'dut0', names: ['x'] }])
    await sweepLeases(host, { dryRun: true }) // the bridges of other tests are no concern of ours
    expect((await readLedger(host)).leases).toHaveLength(1)
    await lease?.release()
  })

  test.each([
    '',
    '\n',
    'null\n',
    '[]\n{}\n',
    '{"owner":"owner@0123456789ab"}\n',
    '{"owner":"../../victim","holder":{},"dut":"x","needs":[]}\n',
    '{"owner":"owner@0123456789ab","holder":null,"dut":"x","needs":[]}\n',
    '\0'.repeat(1000),
  ])('a record that is none is passed over: %j', async (text) => {
    await writeFile(at('lease@0123456789ab'), text)
    await writeFile(at('wish@0123456789ab'), text)
    const host = localHost()
    const [lease] = await admit(host, [{ dut: 'dut0', names: ['x'] }], { timeoutMs: 5000 })
    await sweepLeases(host, { dryRun: true }) // the bridges of other tests are no concern of ours
    await lease?.release()
  })
})

// As root these can be run as others too, which is what the folder of all users is for.
describe.runIf(ROOT)('with several users', () => {
  const as = (user: number) => `setpriv --reuid ${user} --regid ${user} --clear-groups`
  const [ALICE, BOB] = [65_534, 12_345]
  const use = `${process.execPath} ${join(import.meta.dirname, '../../fixtures/programs/use-folder.ts')}`

  /** Runs shell lines where nothing of this machine's own folder is touched: /run is another one. */
  async function apart(...lines: string[]): Promise<string[]> {
    const runs = ['mount -t tmpfs tmpfs /run', 'mkdir -m 1777 /run/lock', 'umask 077', ...lines]
    vi.stubEnv('VITEST_DUT_LOCK_DIR', '')
    vi.stubEnv('XDG_RUNTIME_DIR', '')
    vi.stubEnv('TMPDIR', dir)
    await chmod(dir, 0o1777)
    const { stdout, stderr } = await localHost().run('unshare', [
      ...['--mount', 'sh', '-c', runs.join('\n')],
    ])
    expect(stderr).toBe('')
    return stdout.trimEnd().split('\n')
  }
  const look = `stat --format '%U %a' ${COMMON}`

  test('root comes first', async () => {
    const said = await apart(use, look, `${as(ALICE)} ${use}`, `${as(BOB)} ${use}`, use, look)
    expect(said).toEqual([COMMON, 'root 1777', COMMON, COMMON, COMMON, 'root 1777'])
  })

  test('another comes first: all use it, and root takes it over', async () => {
    const said = await apart(
      ...[`${as(ALICE)} ${use}`, look, `${as(BOB)} ${use}`, look, use, look],
      ...[`${as(ALICE)} ${use}`, `${as(BOB)} ${use}`],
    )
    expect(said).toEqual([
      ...[COMMON, 'nobody 1777', COMMON, 'nobody 1777', COMMON, 'root 1777'],
      ...[COMMON, COMMON],
    ])
  })

  test('one that another made for themselves is refused, and the line to type mends it', async () => {
    const line = `chown root: ${COMMON} && chmod 1777 ${COMMON}`
    const said = await apart(
      `${as(ALICE)} mkdir -m 755 ${COMMON}`,
      ...[`${as(BOB)} ${use}`, line, `${as(BOB)} ${use}`],
    )
    expect(said).toEqual([
      `InfrastructureError: this machine: the folder for lock files, ${COMMON}, belongs to nobody`,
      `→ as root on this machine: ${line}`,
      COMMON,
    ])
  })

  test('one that only root can write is refused, and not replaced by one’s own', async () => {
    const said = await apart(`mkdir -m 755 ${COMMON}`, `${as(BOB)} ${use}`)
    expect(said[0]).toMatch(/vitest-dut, cannot be written: Permission denied$/)
    expect(said[1]).toMatch(/^→ as root on this machine: .*chmod 1777/)
  })

  test('a link in its place is not followed, by root neither', async () => {
    const away = `${dir}/away`
    await mkdir(away)
    const said = await apart(
      ...[`${as(ALICE)} ln -s ${away} ${COMMON}`, use, `${as(BOB)} ${use}`],
      ...[`stat --format %U ${away}`, `ls ${away}`],
    )
    expect(said.filter((line) => line.endsWith('is none'))).toHaveLength(2)
    expect(said.at(-1)).toBe('root') // and nothing is in it
  })

  test('where none can be made, each has a folder of their own', async () => {
    const own = `${dir}/vitest-dut-lock-${BOB}`
    expect(await apart('chmod 755 /run/lock', `${as(BOB)} ${use}`)).toEqual([own])
    expect(await modeOf(own)).toBe(0o700)
  })

  test('a folder of their own that somebody else made before them is refused', async () => {
    await mkdir(`${dir}/vitest-dut-lock-${BOB}`)
    await chown(`${dir}/vitest-dut-lock-${BOB}`, ALICE, ALICE)
    const said = await apart('chmod 755 /run/lock', `${as(BOB)} ${use}`)
    expect(said[0]).toMatch(/vitest-dut-lock-12345, belongs to nobody$/)
  })

  test('a file system that is read-only is named as such', async () => {
    const said = await apart(`mkdir -m 1777 ${COMMON}`, 'mount -o remount,ro /run', use)
    expect(said[0]).toMatch(/vitest-dut, cannot be written: Read-only file system$/)
    expect(said[1]).toBe(
      '→ set VITEST_DUT_LOCK_DIR to a folder that every user of this host can write',
    )
  })

  test('another user locks what the first one made', async () => {
    await chmod(dir, 0o755)
    vi.stubEnv('VITEST_DUT_LOCK_DIR', join(dir, 'locks'))
    const host = localHost()
    const umask = process.umask(0o077)
    try {
      await section(host, 's', () => {})
      const [file = '', ...args] = as(ALICE).split(' ')
      const other = (command: string[]) => host.run(file, [...args, ...command])
      const script = 'exec 3<>"$0" && flock -n 3 && echo locked'
      const path = await lockPath(host, 'section-s')
      expect(await other(['sh', '-c', script, path])).toMatchObject({ stdout: 'locked\n' })
      await section(host, 's', async () => {
        expect(await other(['sh', '-c', script, path])).toMatchObject({ exitCode: 1, stdout: '' })
      })
    } finally {
      process.umask(umask)
    }
  })
})
