import { existsSync } from 'node:fs'
import { readdir, stat, writeFile } from 'node:fs/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../src/host/local.ts'
import { readRecipe } from '../../src/image/recipe.ts'
import { cli, makeBin, startCli, usePlace } from '../support/cli.ts'
import { CURRENT, GUEST_BYTES, OLD, putGuest } from '../support/guest-folders.ts'
import { startProcess } from '../support/process.ts'

const place = usePlace()
const guest = (...words: string[]) => cli(['guest', ...words], place)
const cache = () => `${place.dir}/cache`

describe('guest path', () => {
  test('prints the folder of the current guest', async () => {
    const folder = await putGuest(cache(), CURRENT)
    expect(await guest('path')).toMatchObject({ stdout: `${folder}\n`, stderr: '', exitCode: 0 })
  })

  test('says how to get it where there is only another', async () => {
    await putGuest(cache(), OLD)
    const { stdout, stderr, exitCode } = await guest('path')
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 1 })
    expect(stderr).toMatch(/\n→ build it: npx vitest-dut guest build\n$/)
  })

  test('of another processor is another, and there are two', async () => {
    await putGuest(cache(), CURRENT)
    const { stderr, exitCode } = await guest('path', '--arch', 'arm64')
    expect(exitCode).toBe(1)
    expect(stderr).toMatch(/\n→ build it: npx vitest-dut guest build --arch arm64\n$/)
    const unknown = await guest('path', '--arch', 'toString')
    expect(unknown.stderr).toMatch(/^--arch toString: there is no built-in guest for that\n/)
    expect(unknown.exitCode).not.toBe(0)
  })
})

describe('guest list', () => {
  test('has a line for each, the newest first', async () => {
    await putGuest(cache(), OLD, 3)
    await putGuest(cache(), CURRENT, 1.5)
    await putGuest(cache(), `${OLD}.draft-01234567`, 9)
    const { stdout, exitCode } = await guest('list')
    expect(exitCode).toBe(0)
    expect(stdout.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['KEY', 'SIZE', 'AGE', 'STATE'],
      [CURRENT, '3.0K', '36 h', 'current for amd64'],
      [OLD, '3.0K', '3 days', 'unused'],
      [OLD, '3.0K', '9 days', 'unfinished build'],
      [''],
    ])
  })

  test('as JSON has exactly these fields', async () => {
    const folder = await putGuest(cache(), OLD, 3)
    const { stdout, exitCode } = await guest('list', '--json')
    expect(exitCode).toBe(0)
    expect(JSON.parse(stdout)).toEqual({
      version: 1,
      guests: [
        {
          key: OLD,
          folder,
          bytes: GUEST_BYTES,
          builtAt: (await stat(folder)).mtime.toISOString(),
          current: false,
          complete: true,
          inUse: false,
        },
      ],
    })
  })

  test('a current one says for which processor', async () => {
    const { key } = await readRecipe(undefined, 'arm64')
    await putGuest(cache(), key.slice(0, 16))
    const [listed] = JSON.parse((await guest('list', '--json')).stdout).guests
    expect(listed).toMatchObject({ current: true, arch: 'arm64' })
  })

  test('of nothing', async () => {
    expect(await guest('list')).toMatchObject({ stdout: `no guests in ${cache()}\n`, exitCode: 0 })
    expect(JSON.parse((await guest('list', '--json')).stdout)).toEqual({ version: 1, guests: [] })
  })
})

describe('guest prune', () => {
  test('removes what is neither current nor used, and says so', async () => {
    const old = await putGuest(cache(), OLD, 3)
    const current = await putGuest(cache(), CURRENT)
    const { stdout, exitCode } = await guest('prune')
    expect(exitCode).toBe(0)
    expect(stdout).toBe(
      `removed ${old} (3.0K)\nkept ${current} (current for amd64)\nremoved 1 guest, 3.0K\n`,
    )
    expect([existsSync(old), existsSync(current)]).toEqual([false, true])
  })

  test('only says what it would remove', async () => {
    const old = await putGuest(cache(), OLD, 3)
    const { stdout } = await guest('prune', '--dry-run')
    expect(stdout).toBe(`would remove ${old} (3.0K)\nwould remove 1 guest, 3.0K\n`)
    expect(existsSync(old)).toBe(true)
  })

  test('as JSON has exactly these fields; what is used is kept', async () => {
    const old = await putGuest(cache(), OLD, 3)
    const log = `${place.dir}/log`
    const user = startProcess('take-guest.ts', [cache(), log], { lockDir: place.dir })
    onTestFinished(() => user.kill())
    const used = await user.line()
    const { stdout, exitCode } = await guest('prune', '--json')
    expect(exitCode).toBe(0)
    const answer = JSON.parse(stdout)
    expect(Object.keys(answer)).toEqual(['version', 'dryRun', 'bytes', 'removed', 'kept'])
    expect(answer).toMatchObject({
      ...{ version: 1, dryRun: false, bytes: GUEST_BYTES },
      removed: [{ folder: old, inUse: false }],
      kept: [{ folder: used, inUse: true, current: false }],
    })
    const fields = ['key', 'folder', 'bytes', 'builtAt', 'current', 'complete', 'inUse']
    expect(Object.keys(answer.kept[0])).toEqual(fields)
    expect((await guest('list')).stdout).toMatch(/ {2}in use\n$/)
    await user.kill()
    expect((await guest('prune')).stdout).toContain(`removed ${used}`)
  })
})

describe('guest build', () => {
  test('prints the folder of a guest that is there, and nothing else', async () => {
    const folder = await putGuest(cache(), CURRENT)
    expect(await guest('build')).toMatchObject({ stdout: `${folder}\n`, stderr: '', exitCode: 0 })
  })

  test('lists what it lacks, with what to type', async () => {
    const bin = await makeBin(place.dir, ['sh', 'id', 'grep', 'setpriv', 'flock'])
    const { stdout, stderr, exitCode } = await cli(['guest', 'build'], {
      env: { ...place.env, PATH: bin },
    })
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 1 })
    expect(stderr).toMatch(/^cannot build the default guest: missing mmdebstrap, gcc, .*\n→ .*\n$/)
  })

  test('tells its progress, and ends in order on a signal', { timeout: 60_000 }, async () => {
    const bin = await makeBin(
      place.dir,
      ['sh', 'id', 'grep', 'df', 'setpriv', 'flock', 'sleep', 'truncate', 'unshare'],
      {
        gcc: 'echo /usr/lib/libc.a',
        mmdebstrap: 'echo "I: downloading packages with apt..."; exec sleep 1000',
        ...Object.fromEntries(
          ['sqfstar', 'dpkg-deb', 'apt-get', 'newuidmap'].map((name) => [name, 'exit 1']),
        ),
      },
    )
    const { child, ended } = startCli(['guest', 'build'], { env: { ...place.env, PATH: bin } })
    onTestFinished(() => void child.kill('SIGKILL'))
    let told = ''
    child.stderr.on('data', (data) => {
      told += data
    })
    await expect.poll(() => told).toContain('downloading packages')
    const lines = told.trimEnd().split('\n')
    expect(lines.map((line) => line.replace(/ \(.*\)$/, ''))).toEqual([
      'guest: compiling its agent',
      'guest: asking the package archive',
      'guest: downloading packages',
    ])
    child.kill('SIGINT')
    expect(await ended).toMatchObject({ exitCode: 130, stdout: '' })
    const locks = [`${CURRENT}.lock`, `${CURRENT}.use`]
    expect((await readdir(`${cache()}/guest`)).sort()).toEqual(locks)
    expect(await localHost().held(locks.map((name) => `${cache()}/guest/${name}`))).toEqual([
      false,
      false,
    ])
  })
})

test('what the system refuses is told without a stack', async () => {
  await writeFile(cache(), 'not a folder')
  const { exitCode, stderr } = await guest('build')
  expect(exitCode).toBe(1)
  expect(stderr).toBe(
    `the cache ${cache()}/guest cannot be made: ENOTDIR: not a directory, mkdir '${cache()}/guest'\n` +
      '→ set VITEST_DUT_CACHE to a folder that this user can write\n',
  )
})
