import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { PORT_RANGE } from '../../src/lease/resources/ports.ts'
import { usePagesTurn } from '../support/pages-turn.ts'
import { processesWith } from '../support/processes.ts'
import { heldIn, inventory } from '../support/remains.ts'

usePagesTurn()

/** Of ten VMs each. */
const SUITES = 10
/** What is loaded and compiled once, is there by then. */
const WARM_UP = 2
const isRoot = process.getuid?.() === 0

const ptys = () => Number(readFileSync('/proc/sys/kernel/pty/nr', 'utf8'))

test('a worker that has started and stopped a hundred VMs has what it had before', {
  timeout: 20 * 60_000,
}, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'dut-cycles-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const [locks, run] = [join(dir, 'locks'), join(dir, 'run')]
  const looked = { ports: PORT_RANGE, folders: [run] }
  const [before, ptysBefore] = [await inventory(looked), ptys()]

  const script = join(import.meta.dirname, '../fixtures/programs/cycle-vms.ts')
  const options = ['--expose-gc', '--disable-warning=ExperimentalWarning']
  const args = [...options, script, String(SUITES), isRoot ? 'hugepages' : 'small']
  const env = { ...process.env, VITEST_DUT_RUN_DIR: run, VITEST_DUT_LOCK_DIR: locks }
  const worker = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void worker.kill('SIGKILL'))
  let [printed, complaints] = ['', '']
  worker.stdout.on('data', (data) => {
    printed += data
  })
  worker.stderr.on('data', (data) => {
    complaints += data
  })
  const [status] = await once(worker, 'close')
  expect(complaints).toBe('')
  expect(status).toBe(0)

  const looks = printed
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(looks).toHaveLength(SUITES)
  const { memory: warm, ...rest } = looks[WARM_UP - 1]
  expect(Object.values(rest.objects)).toEqual([0, 0, 0, 0, 0, 0])
  expect(rest).toMatchObject({ children: '', warnings: [], listeners: { 'of the signal': 0 } })
  for (const { memory, ...later } of looks.slice(WARM_UP)) {
    expect(later).toEqual(rest)
    for (const kind of ['rss', 'heapUsed']) {
      expect(memory[kind], kind).toBeGreaterThan(warm[kind] * 0.9)
      expect(memory[kind], kind).toBeLessThan(warm[kind] * 1.1)
    }
  }

  expect(processesWith(dir)).toEqual([])
  expect(await heldIn(locks)).toEqual([])
  expect(readdirSync(locks).filter((name) => !/^(section|line)-/.test(name))).toEqual([])
  // Others on the machine may have something of it just then.
  const poll = { timeout: 60_000, interval: 500 }
  const added = async () => (await inventory(looked)).filter((line) => !before.includes(line))
  await expect.poll(added, poll).toEqual([join(run, 'lock')])
  await expect.poll(ptys, poll).toBeLessThanOrEqual(ptysBefore)
})
