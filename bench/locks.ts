import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { localHost } from '../src/host/local.ts'
import { section } from '../src/lease/locks/section.ts'
import { poll } from '../src/wait.ts'
import { inTurn, median, type Row, timeRow } from './measure.ts'

const ROUNDS = 200

/** Sections between processes and without anybody else, against bare flock(1) that does the same. */
export async function locks(): Promise<Row[]> {
  const dir = await mkdtemp(join(tmpdir(), 'bench-locks-'))
  const before = process.env.VITEST_DUT_LOCK_DIR
  process.env.VITEST_DUT_LOCK_DIR = dir
  try {
    return [await handOver(dir), await withoutContention(dir)]
  } finally {
    if (before === undefined) delete process.env.VITEST_DUT_LOCK_DIR
    else process.env.VITEST_DUT_LOCK_DIR = before
    await rm(dir, { recursive: true })
  }
}

/** What a section costs where nobody else is there, against a program under a lock. */
async function withoutContention(dir: string): Promise<Row> {
  const host = localHost()
  await section(host, 'free', () => {})
  const bare = async () => {
    const stdio = ['ignore', 'ignore', 'pipe'] as const
    await once(spawn('flock', [join(dir, 'bare'), 'true'], { stdio: [...stdio] }), 'close')
  }
  const { ours, floor } = await inTurn(ROUNDS, () => section(host, 'free', () => {}), bare)
  return timeRow('a section that is free, p50', median(ours), median(floor), 1.6)
}

/** From the release in one process to the entry of one that waits, both of Node or both of bash. */
async function handOver(dir: string): Promise<Row> {
  const node = () => startPeer(process.execPath, join(import.meta.dirname, 'section-peer.ts'))
  const bash = () => startPeer('bash', '-c', BARE_PEER, join(dir, 'bare'))
  const ours = [node(), node()]
  const floor = [bash(), bash()]
  const times = { ours: [] as number[], floor: [] as number[] }
  try {
    for (const peer of [...ours, ...floor]) await warmUp(peer)
    for (const [first] of [ours, floor]) await enter(first!)
    for (let i = 0; i < ROUNDS; i++) {
      times.ours.push(await pass(ours))
      times.floor.push(await pass(floor))
    }
  } finally {
    await Promise.all([...ours, ...floor].map((peer) => peer.end()))
  }
  const what = 'from a section to the next process, p50'
  return timeRow(what, median(times.ours), median(times.floor), 4)
}

// The same as section-peer.ts. $EPOCHREALTIME has a dot or a comma, as the locale has it.
const BARE_PEER = `
LC_ALL=C
ms() { local us=\${EPOCHREALTIME/./}; now=\${us%???}.\${us: -3}; }
while read -r _; do
  exec 3<>"$0"; flock 3; ms
  echo "$now"
  read -r _; ms
  exec 3>&-
  echo "$now"
done`

type Peer = ReturnType<typeof startPeer>

function startPeer(file: string, ...args: string[]) {
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(file, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    pid: child.pid ?? 0,
    say: (text: string) => void child.stdin.write(`${text}\n`),
    /** The time that it prints next. */
    time: async () => Number((await lines.next()).value),
    end: async () => {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    },
  }
}

async function enter(peer: Peer): Promise<void> {
  peer.say('enter')
  await peer.time()
}

/** What only the first entry costs: it looks for the folder of locks. */
async function warmUp(peer: Peer): Promise<void> {
  await enter(peer)
  peer.say('leave')
  await peer.time()
}

/** Milliseconds of one hand-over; the two change places in the list. */
async function pass(peers: Peer[]): Promise<number> {
  const [inside, next] = peers as [Peer, Peer]
  next.say('enter')
  await standing(next)
  inside.say('leave')
  const [leftAt, enteredAt] = await Promise.all([inside.time(), next.time()])
  peers.reverse()
  return enteredAt - leftAt
}

/** Resolves when a flock(1) of the peer sleeps, as only one does that waits: seen twice. */
async function standing({ pid }: Peer): Promise<void> {
  let before: string | undefined
  await poll(
    async () => {
      const now = await sleepingFlock(pid)
      const still = now !== undefined && now === before
      before = now
      return still || undefined
    },
    { timeoutMs: 20_000, everyMs: 2 },
  )
}

async function sleepingFlock(parent: number): Promise<string | undefined> {
  const pids = (await readdir('/proc')).filter((name) => Number(name) > parent)
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    if (stat.startsWith(`${pid} (flock) S ${parent} `)) return pid
  }
  return undefined
}
