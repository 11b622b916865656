import { createHash, type Hash } from 'node:crypto'
import { shellQuote } from '../../console/line.ts'
import { GuestError } from '../../errors.ts'
import { type ExecContext, exec } from '../../guest-protocol/exec.ts'

/** The guest keeps each piece in its memory until that is written. */
const PIECE = 16 * 2 ** 20
/** Guests without KVM read and write some ten megabytes in a second. */
const BYTES_PER_MS = 5 * 1024
const LEAST_MS = 60_000
/** Writes behind what is there, also on a disk, which has no end to append to. */
const ADD = 'iflag=fullblock conv=notrunc status=none'
/** A file that is asked for is wanted whole. */
const ANY_SIZE = '4096T'

/** See `Vm.copyIn`. */
export async function copyIn(
  guest: ExecContext,
  data: string | Uint8Array,
  path: string,
  mode: number,
): Promise<void> {
  const file = shellQuote(path)
  const bytes = typeof data === 'string' ? Buffer.from(data) : data
  const hash = createHash('sha256')
  const begin = `mkdir -p -- "$(dirname -- ${file})" && cat > ${file} && chmod ${mode.toString(8)} ${file}`
  const sum = `sha256sum < ${file}`
  let reported = ''
  for (let at = 0; at === 0 || at < bytes.length; at += PIECE) {
    const input = bytes.subarray(at, at + PIECE)
    const isLast = at + PIECE >= bytes.length
    const write = at === 0 ? begin : `dd bs=1M seek=${at / 2 ** 20} ${ADD} of=${file}`
    const { stdout } = await exec(guest, isLast ? `${write} && ${sum}` : write, {
      ...{ input, check: true, timeout: isLast ? timeFor(bytes.length) : LEAST_MS },
    })
    hash.update(input)
    reported = stdout
  }
  compare(guest, path, hash, reported)
}

/** See `Vm.copyOut`. */
export async function copyOut(guest: ExecContext, path: string): Promise<Uint8Array> {
  const file = shellQuote(path)
  const size = await exec(guest, `stat -L -c %s -- ${file}`, { check: true })
  const timeout = timeFor(Number(size.stdout))
  const options = { check: true, maxOutput: ANY_SIZE, timeout }
  const { stdoutBytes } = await exec(guest, `cat ${file}`, options)
  const { stdout } = await exec(guest, `sha256sum < ${file}`, options)
  const hash = createHash('sha256')
  for (let at = 0; at < stdoutBytes.length; at += PIECE) {
    hash.update(stdoutBytes.subarray(at, at + PIECE))
  }
  compare(guest, path, hash, stdout)
  return stdoutBytes
}

function timeFor(bytes: number): number {
  return LEAST_MS + Math.ceil(bytes / BYTES_PER_MS)
}

function compare({ where }: ExecContext, path: string, hash: Hash, reported: string): void {
  if (reported.startsWith(hash.digest('hex'))) return
  throw new GuestError(`${path} is not the same on both sides: its SHA-256 differs`, {
    ...where,
    hint: 'was it written to meanwhile, or is the file system full? (df in the guest)',
  })
}
