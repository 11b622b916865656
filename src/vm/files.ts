import { createHash } from 'node:crypto'
import { type ExecContext, exec } from '../console/exec.ts'
import { shellQuote } from '../console/line.ts'
import { GuestError } from '../errors.ts'

/** See `Vm.copyIn`. */
export async function copyIn(
  guest: ExecContext,
  data: string | Uint8Array,
  path: string,
  mode: number,
): Promise<void> {
  const file = shellQuote(path)
  const { stdout } = await exec(
    guest,
    `mkdir -p -- "$(dirname -- ${file})" && cat > ${file} && chmod ${mode.toString(8)} ${file} && sha256sum < ${file}`,
    { input: data, check: true },
  )
  compare(guest, path, data, stdout)
}

/** See `Vm.copyOut`. */
export async function copyOut(guest: ExecContext, path: string): Promise<Uint8Array> {
  const file = shellQuote(path)
  const { stdoutBytes } = await exec(guest, `cat ${file}`, { check: true })
  const { stdout } = await exec(guest, `sha256sum < ${file}`, { check: true })
  compare(guest, path, stdoutBytes, stdout)
  return stdoutBytes
}

function compare(
  { where }: ExecContext,
  path: string,
  data: string | Uint8Array,
  reported: string,
): void {
  const wanted = createHash('sha256').update(data).digest('hex')
  if (reported.startsWith(wanted)) return
  throw new GuestError(`${path} is not the same on both sides: its SHA-256 differs`, {
    ...where,
    hint: 'was it written to meanwhile, or is the file system full? (df in the guest)',
  })
}
