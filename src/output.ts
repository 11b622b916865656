import { closeSync, openSync, writeSync } from 'node:fs'
import { firstLine, InfrastructureError, UsageError } from './errors.ts'
import { formatSize } from './format.ts'
import { checkKeys } from './options.ts'
import { parseSize, type Size } from './units.ts'

/** How much a program may print, and where that goes. */
export interface OutputOptions {
  /**
   * Kept of each stream at most, `'1G'` where none is given. A program that prints more runs to its end,
   * and the call rejects then. A file may become as large as its file system allows.
   */
  maxOutput?: Size
  /** Standard output goes to a file of the machine that runs the tests, and is `''` in the result. */
  stdout?: { file: string }
}

export const MAX_OUTPUT: Size = '1G'

/** Bytes that are remembered for the error of a program whose output is not kept. */
const TAIL_BYTES = 10_000
const LEAST_BLOCK = 4 * 1024
const LARGEST_BLOCK = 2 ** 20
/** Decoding ten megabytes that are no text takes longer than to fetch them. */
const LARGE = 64 * 1024

/** One stream of a program. */
export interface Output {
  push(bytes: Uint8Array): void
  /** Bytes that were printed, kept or not. */
  readonly printed: number
  /** Some of them were not kept. */
  readonly isOver: boolean
  /** All that was kept. */
  bytes(): Buffer
  /** The end of what was printed, for an error. */
  tail(): string
}

/** Keeps what is printed in memory, up to a limit; then only its end. */
export class KeptOutput implements Output {
  readonly #limit: number
  #blocks: Buffer[] = []
  /** Bytes in the last block. */
  #filled = 0
  printed = 0

  constructor(limit = parseSize(MAX_OUTPUT)) {
    this.#limit = limit
  }

  get isOver(): boolean {
    return this.printed > this.#limit
  }

  push(bytes: Uint8Array): void {
    this.printed += bytes.length
    for (let at = 0; at < bytes.length; ) {
      const free = (this.#blocks.at(-1)?.length ?? 0) - this.#filled
      if (free === 0) this.#addBlock()
      const piece = bytes.subarray(at, at + (free || (this.#blocks.at(-1) as Buffer).length))
      this.#blocks.at(-1)?.set(piece, this.#filled)
      this.#filled += piece.length
      at += piece.length
    }
  }

  /** Pieces are copied into blocks: a small one would keep alive all that came with it. */
  #addBlock(): void {
    // The call will be rejected: nobody is going to read more than the end.
    if (this.isOver) this.#blocks = this.#blocks.slice(-1)
    const size = Math.min(LARGEST_BLOCK, Math.max(LEAST_BLOCK, this.printed))
    this.#blocks.push(Buffer.allocUnsafeSlow(size))
    this.#filled = 0
  }

  bytes(): Buffer {
    return Buffer.concat(this.#whole(this.#blocks))
  }

  tail(): string {
    const end = Buffer.concat(this.#whole(this.#blocks.slice(-2)))
    return end.subarray(-TAIL_BYTES).toString()
  }

  #whole(blocks: readonly Buffer[]): Buffer[] {
    return blocks.map((block, i) =>
      i < blocks.length - 1 ? block : block.subarray(0, this.#filled),
    )
  }
}

/** Writes what is printed to a file, and keeps the end. */
class FileOutput implements Output {
  readonly isOver = false
  readonly #path: string
  readonly #file: number
  readonly #onError: (error: Error) => void
  readonly #end = new KeptOutput(0)
  #isBroken = false

  /** @throws InfrastructureError where the file cannot be opened */
  constructor(path: string, onError: (error: Error) => void) {
    this.#path = path
    this.#onError = onError
    try {
      this.#file = openSync(path, 'w')
    } catch (cause) {
      throw this.#error('opened', cause)
    }
  }

  get printed(): number {
    return this.#end.printed
  }

  push(bytes: Uint8Array): void {
    this.#end.push(bytes)
    if (this.#isBroken) return
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at)
    } catch (cause) {
      this.#isBroken = true
      this.#onError(this.#error('written', cause))
    }
  }

  bytes(): Buffer {
    return Buffer.alloc(0)
  }

  tail(): string {
    return this.#end.tail()
  }

  close(): void {
    this.#isBroken = true
    closeSync(this.#file)
  }

  #error(what: string, cause: unknown): InfrastructureError {
    const message = `the file for the output, ${this.#path}, cannot be ${what}: ${firstLine(cause)}`
    return new InfrastructureError(message, { cause })
  }
}

/** Both streams of a program. */
export interface Outputs {
  out: Output
  err: Output
  /** Rejects, and never resolves, when the output cannot be put where it should go. */
  readonly failed: Promise<never>
  /** How much was printed where that was too much, as the end of a sentence; else undefined. */
  overLimit(): string | undefined
  tail(): string
  /** Nothing more is taken; to be called in the end, however that is. */
  close(): void
}

export const OVER_LIMIT_HINT =
  "for more, name a file, { stdout: { file: 'out.log' } }, or a larger size, { maxOutput: '4G' }"

/**
 * Opens what a program's streams go to.
 *
 * @throws UsageError for a bad size or file
 * @throws InfrastructureError where the file cannot be opened
 */
export function openOutputs({ maxOutput = MAX_OUTPUT, stdout }: OutputOptions): Outputs {
  const limit = parseSize(maxOutput, 'maxOutput')
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => {}) // whoever has stopped to wait need not look at it
  const file = stdout === undefined ? undefined : fileOutput(stdout, failed.reject)
  const out = file ?? new KeptOutput(limit)
  const err = new KeptOutput(limit)
  return {
    ...{ out, err, failed: failed.promise },
    overLimit: () => {
      const [stream, output] = out.isOver ? ['stdout', out] : ['stderr', err]
      if (!output.isOver) return undefined
      return `printed ${formatSize(output.printed)} to ${stream}, more than maxOutput (${maxOutput})`
    },
    tail: () => out.tail() + err.tail(),
    close: () => file?.close(),
  }
}

function fileOutput(stdout: { file: string }, onError: (error: Error) => void): FileOutput {
  checkKeys('stdout', stdout, ['file'])
  if (typeof stdout.file !== 'string' || stdout.file === '') {
    throw new UsageError('stdout: file is not a path', { hint: "{ stdout: { file: 'out.log' } }" })
  }
  return new FileOutput(stdout.file, onError)
}

/**
 * Adds `stdout` and `stderr` as text. What is large is decoded when somebody looks at it; that throws a
 * UsageError where it is longer than a string can be.
 */
export function withText<T extends object>(
  result: T,
  bytes: { stdout: Buffer; stderr: Buffer },
): T & { stdout: string; stderr: string } {
  for (const [name, all] of Object.entries(bytes)) {
    const text = all.length <= LARGE ? { value: all.toString() } : { get: decodeOnce(name, all) }
    Object.defineProperty(result, name, { ...text, enumerable: true, configurable: true })
  }
  return result as T & { stdout: string; stderr: string }
}

function decodeOnce(name: string, bytes: Buffer): () => string {
  let text: string | undefined
  return () => {
    text ??= decode(name, bytes)
    return text
  }
}

function decode(name: string, bytes: Buffer): string {
  try {
    return bytes.toString()
  } catch (cause) {
    const size = formatSize(bytes.length)
    throw new UsageError(
      `${name} has ${size}: at most 512M (2^29 - 24 characters) fit into a string`,
      {
        hint:
          name === 'stdout'
            ? `take stdoutBytes, or have it written to a file: { stdout: { file: 'out.log' } }`
            : 'send it to a file where the command runs: 2>err.log',
        cause,
      },
    )
  }
}
