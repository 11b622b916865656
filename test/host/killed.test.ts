import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { watchKills } from '../../src/host/killed.ts'
import { localHost } from '../../src/host/local.ts'
import { waitFor } from '../../src/wait.ts'

const host = localHost()
const isRoot = process.getuid?.() === 0
const PATIENCE = { timeoutMs: 30_000 }

/** A program that does what it is told once it is asked to begin. */
function program(file: string, ...args: string[]) {
  const pty = host.openPty('sh', ['-c', 'read -r _; exec "$0" "$@"', file, ...args])
  pty.onData(() => {})
  onTestFinished(() => pty.kill())
  return pty
}

/** The memory controller's folder for this process, in whatever version the machine has. */
function memoryGroup(): string | undefined {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').split('\n')
  const v1 = lines.find((line) => line.split(':')[1]?.split(',').includes('memory'))
  if (v1) return `/sys/fs/cgroup/memory${v1.split(':')[2]}`
  const v2 = lines.find((line) => line.startsWith('0::'))
  return v2 && `/sys/fs/cgroup${v2.slice(3)}`
}

test.skipIf(!isRoot)('a program that is killed at the limit of its control group', async () => {
  const group = `${memoryGroup()}/dut-killed-${process.pid}`
  mkdirSync(group)
  onTestFinished(() => rmdirSync(group))
  const isV1 = group.startsWith('/sys/fs/cgroup/memory')
  writeFileSync(`${group}/${isV1 ? 'memory.limit_in_bytes' : 'memory.max'}`, String(16 << 20))
  const pty = program('tail', '/dev/zero')
  writeFileSync(`${group}/cgroup.procs`, String(pty.pid))
  const explain = watchKills(host, pty.pid)
  // The counters are taken down before the program begins.
  expect(await explain({ exitCode: 0 })).toBeUndefined()
  pty.write('\n')
  const exit = await waitFor(pty.exited, PATIENCE)
  expect(exit.signal).toBe('SIGKILL')
  expect(await explain(exit)).toContain(
    `the host's kernel killed it for want of memory: its control group ${group} is at its limit`,
  )
})

test('a program that somebody kills is not said to lack memory', async () => {
  const pty = program('sleep', '1000')
  const explain = watchKills(host, pty.pid)
  pty.write('\n')
  pty.kill('SIGKILL')
  const exit = await waitFor(pty.exited, PATIENCE)
  expect(exit.signal).toBe('SIGKILL')
  expect(await explain(exit)).toBeUndefined()
})

test.skipIf(!isRoot)('a program whose memory file has no room any more', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'dut-bus-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1M', 'dut-bus', folder])
  onTestFinished(() => {
    execFileSync('umount', ['-l', folder])
    rmSync(folder, { recursive: true })
  })
  const write = `import mmap, os
f = os.open('${folder}/memory', os.O_RDWR | os.O_CREAT)
os.ftruncate(f, 8 << 20)
m = mmap.mmap(f, 8 << 20)
m[:] = bytes(b'x') * (8 << 20)`
  const pty = program('python3', '-c', write)
  const explain = watchKills(host, pty.pid, { folder })
  pty.write('\n')
  const exit = await waitFor(pty.exited, PATIENCE)
  expect(exit.signal).toBe('SIGBUS')
  expect(await explain(exit)).toBe(
    `a page of its memory could not be had: the file system of ${folder} is full; make room there, or start fewer VMs at a time`,
  )
})

test.each([
  [{ hugepages: true }, /the host's pool of huge pages is used up/],
  [{}, /the memory of the host has an error/],
  [{ folder: '/' }, /has something cut its memory file short/],
])('a page that could not be had, where %j is mapped', async (mapped, text) => {
  const explain = watchKills(host, process.pid, mapped)
  expect(await explain({ exitCode: 135, signal: 'SIGBUS' })).toMatch(text)
})

test('a program that reads where it may not', async () => {
  const pty = program('python3', '-c', 'import ctypes; ctypes.string_at(0)')
  const explain = watchKills(host, pty.pid)
  pty.write('\n')
  const exit = await waitFor(pty.exited, PATIENCE)
  expect(exit.signal).toBe('SIGSEGV')
  expect(await explain(exit)).toMatch(/^it read or wrote where it may not, which is a fault of/)
})

test('a program that ends in order, or by another signal, needs no explanation', async () => {
  const explain = watchKills(host, process.pid)
  expect(await explain({ exitCode: 0 })).toBeUndefined()
  expect(await explain({ exitCode: 143, signal: 'SIGTERM' })).toBeUndefined()
})
