import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Dut } from '../src/fleet/dut.ts'
import type { Guest } from '../src/image/guest.ts'
import { poll } from '../src/wait.ts'
import { median, type Row, time, timeRow } from './measure.ts'
import { bootRaw, rawArgs } from './raw.ts'

const ROUNDS = 3
const KILLED = 4
const STOPPED = 8

/** How VMs end: by the death of the process that has them, and all at once in order. */
export async function ends(dut: Dut, guest: Guest, accel: string): Promise<Row[]> {
  return [await death(guest, accel), await teardown(dut, guest, accel)]
}

/** From the kill -9 of a process to the end of the last of its QEMUs. */
async function death(guest: Guest, accel: string): Promise<Row> {
  const times = { ours: [] as number[], floor: [] as number[] }
  for (let i = 0; i < ROUNDS; i++) {
    times.ours.push(await killFamily(await startWorker()))
    times.floor.push(await killFamily(await startBare(guest, accel)))
  }
  const what = `kill -9 to the last of ${KILLED} VMs gone`
  return timeRow(what, median(times.ours), median(times.floor), 1.5)
}

interface Family {
  parent: ChildProcess
  /** QEMUs. */
  pids: number[]
}

function killFamily({ parent, pids }: Family): Promise<number> {
  const all = [...pids, parent.pid ?? 0]
  return time(async () => {
    parent.kill('SIGKILL')
    await poll(() => !all.some(isRunning) || undefined, { timeoutMs: 30_000, everyMs: 1 })
  })
}

/** A zombie does not run; its parent is dead, and the next one comes for it when it likes. */
function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

async function startWorker(): Promise<Family> {
  const script = join(import.meta.dirname, 'ends-worker.ts')
  const parent = spawn(process.execPath, [script, String(KILLED)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = await once(createInterface({ input: parent.stdout }), 'line')
  return { parent, pids: String(line).split(' ').map(Number) }
}

// The words are: how many, the folder of their output, those of QEMU.
const BARE = `
import { spawn } from 'node:child_process'
import { openSync } from 'node:fs'
const [count, dir, ...qemu] = process.argv.slice(1)
for (let i = 1; i <= Number(count); i++) {
  const out = openSync(dir + '/' + i, 'w')
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...qemu], { stdio: ['ignore', out, out] })
  console.log(child.pid)
}
setInterval(() => {}, 1e9)`

/** As bare as can be: a Node, whose own end takes a part of the time, with QEMUs that end with it. */
async function startBare(guest: Guest, accel: string): Promise<Family> {
  const dir = await mkdtemp(join(tmpdir(), 'bench-ends-'))
  const qemu = ['qemu-system-x86_64', ...rawArgs(guest, accel)]
  const node = ['--input-type=module', '--eval', BARE, String(KILLED), dir, ...qemu]
  const parent = spawn('setpriv', ['--pdeathsig', 'KILL', '--', process.execPath, ...node], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: parent.stdout })[Symbol.asyncIterator]()
  const pids: number[] = []
  while (pids.length < KILLED) pids.push(Number((await lines.next()).value))
  const booted = async (_: number, i: number) => {
    const printed = await readFile(join(dir, String(i + 1)), 'utf8').catch(() => '')
    return printed.includes('dut-shell')
  }
  await poll(async () => (await Promise.all(pids.map(booted))).every(Boolean) || undefined, {
    timeoutMs: 120_000,
  })
  await rm(dir, { recursive: true })
  return { parent, pids }
}

/** All VMs of a DUT stopped in order, with all they had, against as many bare QEMUs killed. */
async function teardown(dut: Dut, guest: Guest, accel: string): Promise<Row> {
  const times = { ours: [] as number[], floor: [] as number[] }
  for (let i = 0; i < ROUNDS; i++) {
    const vms = await dut.startAll(Array.from({ length: STOPPED }, () => ({})))
    await Promise.all(vms.map((vm) => vm.cmd('true')))
    times.ours.push(await time(() => dut.stopVms()))
    const bare = await Promise.all(Array.from({ length: STOPPED }, () => bootRaw(guest, accel)))
    times.floor.push(await time(() => Promise.all(bare.map((vm) => vm.end()))))
  }
  const what = `${STOPPED} VMs stopped`
  return timeRow(what, median(times.ours), median(times.floor), 2)
}
