import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { localHost } from '../../src/host/local.ts'
import { startQemu } from '../../src/qemu/process.ts'
import { waitFor } from '../../src/wait.ts'
import { untilGone } from '../support/processes.ts'

const host = localHost()

/** A program in QEMU's place, and all that comes to its terminal. */
async function start(...command: string[]) {
  const dir = await mkdtemp(join(tmpdir(), 'qemu-'))
  const lockFile = join(dir, 'lease')
  await writeFile(lockFile, '')
  const qemu = startQemu(host, command, { dir, lockFile, env: { MARK: 'suite' } })
  let printed = ''
  const ready = Promise.withResolvers<void>()
  qemu.terminal.onData((data) => {
    printed += Buffer.from(data)
    if (printed.includes('ready')) ready.resolve()
  })
  onTestFinished(async () => {
    qemu.kill()
    await qemu.exited
    await rm(dir, { recursive: true })
  })
  return {
    ...qemu,
    dir,
    lockFile,
    printed: () => printed,
    ready: () => waitFor(ready.promise, { timeoutMs: 5000 }),
  }
}
const sh = (script: string, ...args: string[]) => start('sh', '-c', script, 'sh', ...args)

test('the words reach the program as they are, whatever is in them', async () => {
  const words = ['a b', '$HOME', '"', "'", ';', '', '*', '-c']
  const { exited, printed } = await sh('printf "<%s>" "$@"', ...words)
  await exited
  expect(printed()).toBe(words.map((word) => `<${word}>`).join(''))
})

test('the process is the program’s own', async () => {
  const { pid, exited, printed } = await sh('echo $$')
  await exited
  expect(printed()).toBe(`${pid}\r\n`)
})

test('complaints are kept out of the terminal, and told without the program’s name', async () => {
  const { exited, printed, complaints } = await sh(
    `echo guest; for line in 'qemu-system-x86_64: -device edux: not a valid model' \\
      '/usr/bin/qemu-system-aarch64: warning: x' '' 'other: y'; do echo "$line" >&2; done; exit 1`,
  )
  expect(await exited).toEqual({ exitCode: 1 })
  expect(printed()).toBe('guest\r\n')
  expect(await complaints()).toEqual([
    '-device edux: not a valid model',
    'warning: x',
    '',
    'other: y',
  ])
})

test('of very many complaints the last ten are told', async () => {
  const { exited, complaints } = await sh('seq 1 1000 >&2')
  await exited
  expect(await complaints()).toEqual(Array.from({ length: 10 }, (_, i) => `${991 + i}`))
})

test('no complaint, or a folder that is gone, is none', async () => {
  const { exited, complaints, dir } = await sh('exit 0')
  await exited
  expect(await complaints()).toEqual([])
  await host.remove(join(dir, 'qemu.log'))
  expect(await complaints()).toEqual([])
})

test('a program that is not there complains, as one that refuses does', async () => {
  const { exited, complaints } = await start('/no/such/qemu')
  expect(await exited).toEqual({ exitCode: 127 })
  expect((await complaints()).join()).toMatch(/\/no\/such\/qemu: not found/)
})

test('it is killed', async () => {
  const { pid, kill, exited, ready } = await sh(
    'trap "" TERM; echo ready; while :; do read -r x; done',
  )
  await ready()
  kill()
  expect(await exited).toEqual({ exitCode: 137, signal: 'SIGKILL' })
  await untilGone(pid)
})

test('the lease is its own while it lives, shared with whoever made it, and free with its end', async () => {
  const { ready, lockFile, kill, exited, complaints } = await sh('echo ready; exec cat')
  await ready()
  expect(await host.held([lockFile])).toEqual([true])
  const beside = await host.lock(lockFile, { shared: true, wait: false })
  expect(beside).toBeDefined()
  await beside?.release()
  expect(await host.lock(lockFile, { wait: false })).toBeUndefined()
  kill()
  await exited
  await expect.poll(() => host.held([lockFile]), { timeout: 5000 }).toEqual([false])
  expect(await complaints()).toEqual([])
})

test('without its lease file nothing is started', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'qemu-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  const qemu = startQemu(host, ['touch', join(dir, 'ran')], { dir, lockFile: join(dir, 'none') })
  qemu.terminal.onData(() => {})
  expect((await qemu.exited).exitCode).not.toBe(0)
  expect((await qemu.complaints()).join()).toContain(`${dir}/none`)
  expect(await host.fileFacts(join(dir, 'ran'))).toBeUndefined()
})

test('its environment has what was added', async () => {
  const { exited, printed } = await sh('echo "$MARK"')
  await exited
  expect(printed()).toBe('suite\r\n')
})
