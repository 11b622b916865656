import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import type { Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { ensureGuest } from '../../src/image/guest.ts'
import { poll } from '../../src/wait.ts'
import { fakeGuest } from '../support/fake-recipe.ts'

const NAME = 'f'.repeat(16)
const LOCKS = [`${NAME}.lock`, `${NAME}.use`]
const host = localHost()
let cacheDir: string
let log: string
let go: string
const children: ChildProcess[] = []

beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'guest-cache-'))
  log = `${cacheDir}/log`
  go = `${cacheDir}/go`
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await rm(cacheDir, { recursive: true, force: true })
})

const entries = () => readdir(`${cacheDir}/guest`).then((names) => names.sort())
const builds = async () => (await readFile(log, 'utf8')).split('\n').length - 1

/** Another process that builds, once it has begun. */
async function otherBuilder(): Promise<ChildProcess> {
  const program = fileURLToPath(new URL('../fixtures/programs/builder.ts', import.meta.url))
  const child = spawn(process.execPath, [program, cacheDir, log, go], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  let printed = ''
  child.stdout?.on('data', (data) => {
    printed += data
  })
  await poll(() => printed.includes('guest: building') || undefined, { timeoutMs: 20_000 })
  return child
}

test('builds once, and afterwards only looks whether it is there', async () => {
  const lines: string[] = []
  const custom = fakeGuest({ log })
  const guest = await ensureGuest({
    host,
    cacheDir,
    custom,
    onProgress: (line) => lines.push(line),
  })
  expect(lines[0]).toMatch(/^guest: building \((\d+ ms|\d+\.\d s)\)$/)
  expect(guest.dir).toBe(`${cacheDir}/guest/${NAME}`)
  expect(guest).toMatchObject({ rootFormat: 'squashfs', release: '0.0', key: 'f'.repeat(64) })
  expect(await readFile(guest.kernel, 'utf8')).toBe('whole kernel')
  expect(await entries()).toEqual([NAME, ...LOCKS])

  const asked: string[] = []
  const watched = new Proxy(host, {
    get: (_, key: keyof Host) => {
      asked.push(key)
      return host[key]
    },
  })
  const again = await ensureGuest({ host: watched, cacheDir, custom, onProgress: expect.fail })
  expect(asked).toEqual(['makeDir', 'name', 'readFile'])
  expect(again).toEqual(guest)
})

test('two at once in one process build once', async () => {
  const custom = fakeGuest({ log })
  const [a, b] = await Promise.all([
    ensureGuest({ host, cacheDir, custom }),
    ensureGuest({ host, cacheDir, custom }),
  ])
  expect(a).toEqual(b)
  expect(await builds()).toBe(1)
})

test('who waits is told for whom, and builds nothing', async () => {
  const builder = await otherBuilder()
  const lines: string[] = []
  const waiting = ensureGuest({
    host,
    cacheDir,
    custom: fakeGuest({ log }),
    onProgress: (line) => lines.push(line),
  })
  await poll(() => lines.length > 0 || undefined, { timeoutMs: 20_000 })
  expect(lines[0]).toContain(`waiting for process ${builder.pid}, which builds it`)
  await writeFile(go, '')
  await waiting
  expect(await builds()).toBe(1)
})

test('a build that was killed is not used, and is swept by the next', async () => {
  const builder = await otherBuilder()
  const drafts = (await entries()).filter((name) => name.includes('.draft-'))
  expect(drafts).toHaveLength(1)
  expect(await readFile(`${cacheDir}/guest/${drafts[0]}/kernel`, 'utf8')).toBe('half')
  builder.kill('SIGKILL')
  await once(builder, 'exit')
  expect(await entries()).toContain(drafts[0])
  const guest = await ensureGuest({ host, cacheDir, custom: fakeGuest({ log }) })
  expect(await readFile(guest.kernel, 'utf8')).toBe('whole kernel')
  expect(await builds()).toBe(2)
  expect(await entries()).toEqual([NAME, ...LOCKS])
})

test('a build that fails leaves nothing, and lets the next one try', async () => {
  const { recipe } = fakeGuest({ log })!
  const build = () => Promise.reject(new Error('no archive'))
  await expect(ensureGuest({ host, cacheDir, custom: { recipe, build } })).rejects.toThrow(
    'no archive',
  )
  expect(await entries()).toEqual(LOCKS)
  await ensureGuest({ host, cacheDir, custom: fakeGuest({ log }) })
})

test('an aborted build ends at once and leaves nothing', async () => {
  const stop = new AbortController()
  const building = ensureGuest({
    host,
    cacheDir,
    custom: fakeGuest({ log, go }),
    signal: stop.signal,
    onProgress: () => stop.abort(new Error('enough')),
  })
  await expect(building).rejects.toThrow('enough')
  expect(await entries()).toEqual(LOCKS)
})

test('all programs that are missing are named in one error, with what to install', async () => {
  const bin = `${cacheDir}/bin`
  await host.makeDir(bin)
  for (const name of ['sh', 'id', 'apt-get', 'dpkg-deb', 'gcc']) {
    await writeFile(
      `${bin}/${name}`,
      `#!/bin/sh\nPATH=/usr/bin:/bin exec ${name === 'gcc' ? 'true' : name} "$@"\n`,
    )
    await chmod(`${bin}/${name}`, 0o755)
  }
  const poor: Host = {
    ...host,
    run: (file, args, options) =>
      host.run('env', [`PATH=${bin}`, '/bin/sh', ...args], { ...options, env: { FILE: file } }),
  }
  const error = await ensureGuest({ host: poor, cacheDir }).catch((error) => error)
  expect(error).toBeInstanceOf(InfrastructureError)
  expect(error.message).toContain('missing mmdebstrap, sqfstar, libc.a')
  expect(error.hint).toContain('apt-get install mmdebstrap squashfs-tools libc6-dev')
  const other = await ensureGuest({ host: poor, cacheDir, architecture: 'arm64' }).catch((e) => e)
  expect(other.message).toContain('missing mmdebstrap, aarch64-linux-gnu-gcc, sqfstar, ')
  expect(other.hint).toMatch(/gcc-aarch64-linux-gnu .*libc6-dev-arm64-cross/)
  expect((await entries()).filter((name) => name.includes('draft'))).toEqual([])
})
