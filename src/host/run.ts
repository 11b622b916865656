import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { asError, InfrastructureError } from '../errors.ts'
import { type Output, openOutputs, withText } from '../output.ts'
import { turn, waitFor } from '../wait.ts'
import { bound, isMissing, leashed, letGo } from './bound.ts'
import type { Exit, RunOptions, RunResult } from './host.ts'
import { missing } from './missing.ts'

/** How long a program may take to end in order before it is killed. */
const GRACE_MS = 1000
/**
 * How long after the program's end its children are heard that keep its output open; as long as in a
 * guest (guest/helper/run.c).
 */
const MOMENT_MS = 1000

/** See `Host.run`. */
export async function run(
  file: string,
  args: readonly string[],
  { cwd, env, input = '', signal, onOutput, leash = false, outputs: given }: RunOptions = {},
): Promise<RunResult> {
  signal?.throwIfAborted()
  const outputs = given ?? openOutputs({})
  const [setpriv, words] = leash ? leashed(file, args) : bound(file, args)
  const child = start(file, setpriv, words, {
    stdio: leash ? ['pipe', 'pipe', 'pipe', 'pipe'] : 'pipe',
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, ...env },
    // A process group of its own: a child that outlived the program would keep its output open, and
    // Ctrl-C must not reach what a teardown runs.
    detached: true,
  })
  const streams = [child.stdout, child.stderr] as [Readable, Readable]
  const heard = streams.map((stream, i) =>
    hear(stream, i === 0 ? outputs.out : outputs.err, onOutput),
  )
  const exited = exitOf(child)
  exited.then(
    () => leash && (child.stdio[3] as Writable).end(letGo),
    () => {},
  )
  for (const stream of child.stdio) stream?.on('error', () => {}) // it may end without reading all
  child.stdin?.end(input)

  const done = exited.then((exit) => quiet(heard, outputs).then(() => exit))
  const ended = await waitFor(Promise.race([done, outputs.failed]), { signal }).catch(
    async (error) => {
      if (child.pid === undefined) throw startError(error, file, cwd)
      await endGroup(child.pid, exited)
      for (const stream of streams) stream.destroy()
      throw error
    },
  )
  for (const stream of streams) leave(stream)
  const result = { ...ended, stderr: outputs.err.tail() }
  if (isMissing(result, file)) throw missing(file)
  if (given !== undefined) return { ...ended, stdout: '', stderr: '' }
  const over = outputs.overLimit()
  if (over !== undefined) {
    throw new InfrastructureError(`${file} ended with status ${ended.exitCode}, and ${over}`, {
      ...{ command: file, tail: outputs.tail() },
    })
  }
  return withText(ended, { stdout: outputs.out.bytes(), stderr: outputs.err.bytes() })
}

function start(file: string, setpriv: string, words: string[], options: SpawnOptions) {
  try {
    return spawn(setpriv, words, options)
  } catch (error) {
    throw startError(error, file) // such as words that are too long
  }
}

/** Resolves when nobody can write to the stream any more. */
function hear(stream: Readable, output: Output, onOutput?: (text: string) => void): Promise<void> {
  const decoder = new StringDecoder()
  stream.on('data', (bytes: Buffer) => {
    output.push(bytes)
    if (onOutput) onOutput(decoder.write(bytes))
  })
  return new Promise((resolve) => stream.once('close', resolve))
}

/** How the program ends; rejects where it could not be started. */
function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) =>
      resolve(
        signal ? { exitCode: 128 + constants.signals[signal], signal } : { exitCode: code ?? 1 },
      ),
    )
  })
}

/** Resolves when all was read that the program printed, and its children for a moment. */
async function quiet(
  heard: readonly Promise<void>[],
  { out, err }: { out: Output; err: Output },
): Promise<void> {
  const isClosed = await waitFor(Promise.all(heard), { timeoutMs: MOMENT_MS }).catch(() => false)
  if (isClosed) return
  for (let before = -1; before !== out.printed + err.printed; ) {
    before = out.printed + err.printed
    await turn()
  }
}

/** A child that writes on shall not be killed by SIGPIPE, and does not keep us from ending. */
function leave(stream: Readable): void {
  stream.removeAllListeners('data')
  stream.resume()
  if ('unref' in stream && typeof stream.unref === 'function') stream.unref()
}

function startError(error: unknown, file: string, cwd?: string): Error {
  const { code } = error as NodeJS.ErrnoException
  const isLost = cwd !== undefined && !existsSync(cwd)
  if (code === 'ENOENT' && !isLost) return missing('setpriv')
  const why = isLost ? `there is no folder ${cwd}` : asError(error).message
  const message = `${file} could not be started: ${why}`
  return new InfrastructureError(message, { command: file, cause: error })
}

async function endGroup(leader: number, exited: Promise<unknown>): Promise<void> {
  signalGroup(leader, 'SIGTERM')
  await waitFor(exited, { timeoutMs: GRACE_MS }).catch(() => {})
  signalGroup(leader, 'SIGKILL')
  await exited
}

function signalGroup(leader: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-leader, signal)
  } catch {} // nobody is left in it
}
