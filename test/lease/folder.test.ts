import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import { localHost } from '../../src/host/local.ts'
import { lockFolder, lockPath } from '../../src/lease/folder.ts'
import { section } from '../../src/lease/section.ts'

let dir = ''
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'dut-lock-'))
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(dir, { recursive: true })
})

test('the folder of all users, where the machine has one', async () => {
  vi.stubEnv('VITEST_DUT_LOCK_DIR', '')
  const folder = await lockFolder(localHost())
  if (folder !== '/run/lock/vitest-dut') expect(folder).toMatch(/vitest-dut-lock/)
  else expect((await stat(folder)).mode & 0o7777).toBe(0o1777)
})

test('another by the environment, made for all users whatever the umask', async () => {
  const wanted = join(dir, 'a', 'b')
  vi.stubEnv('VITEST_DUT_LOCK_DIR', wanted)
  expect(await lockFolder(localHost())).toBe(wanted)
  expect((await stat(wanted)).mode & 0o7777).toBe(0o1777)
})

test('a folder that cannot be made: the error names it and the way out', async () => {
  await writeFile(join(dir, 'file'), '')
  vi.stubEnv('VITEST_DUT_LOCK_DIR', join(dir, 'file', 'locks'))
  const finding = lockFolder(localHost())
  await expect(finding).rejects.toThrow(InfrastructureError)
  await expect(finding).rejects.toThrow(`${dir}/file/locks`)
  await expect(finding).rejects.toThrow('set VITEST_DUT_LOCK_DIR')
})

test('a failure is not remembered', async () => {
  const host = localHost()
  await writeFile(join(dir, 'file'), '')
  vi.stubEnv('VITEST_DUT_LOCK_DIR', join(dir, 'file'))
  await expect(lockFolder(host)).rejects.toThrow(InfrastructureError)
  vi.stubEnv('VITEST_DUT_LOCK_DIR', dir)
  expect(await lockFolder(host)).toBe(dir)
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

// As root these can be run as somebody else too, which is what the folder of all users is for.
const asNobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--']

test.runIf(userInfo().uid === 0)('another user locks what the first one made', async () => {
  await chmod(dir, 0o755)
  vi.stubEnv('VITEST_DUT_LOCK_DIR', join(dir, 'locks'))
  const host = localHost()
  const umask = process.umask(0o077)
  try {
    await section(host, 's', () => {})
    const other = (command: string[]) => host.run('setpriv', [...asNobody, ...command])
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

test.runIf(userInfo().uid === 0)(
  'a user who cannot write it gets a folder of their own',
  async () => {
    await chmod(dir, 0o777)
    vi.stubEnv('VITEST_DUT_LOCK_DIR', '')
    const host = localHost()
    // Nothing of this machine's own folder is touched: in a mount namespace, /run is another one.
    const script = `
    mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/lock
    exec setpriv ${asNobody.join(' ')} env TMPDIR=${dir} XDG_RUNTIME_DIR= "$@"`
    const module = join(import.meta.dirname, '../../src')
    const code = `
    import { localHost } from '${module}/host/local.ts'
    import { lockFolder } from '${module}/lease/folder.ts'
    console.log(await lockFolder(localHost()))`
    const node = [process.execPath, '--input-type=module-typescript', '-e', code]
    const result = await host.run('unshare', ['--mount', 'sh', '-c', script, 'sh', ...node])
    expect(result).toMatchObject({ stdout: `${dir}/vitest-dut-lock-65534\n` })
    expect((await stat(`${dir}/vitest-dut-lock-65534`)).mode & 0o777).toBe(0o700)
  },
)
