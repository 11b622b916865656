import { randomBytes } from 'node:crypto'
import { UsageError } from '../errors.ts'

/** What tells a guest from others. */
export interface Identity {
  hostname: string
  /** 64 random bytes, from which the guest's kernel goes on; of this machine where none are given. */
  seed?: Uint8Array
  /** 32 hexadecimal digits; random where none are given. */
  machineId?: string
}

/** Bytes that a kernel's random state is renewed with. */
const SEED = 64

/** As the guest's agent wants it. @throws UsageError for a seed or a machine-id of another length */
export function identityBytes(identity: Identity): Uint8Array {
  const { hostname, seed = newSeed(), machineId = newMachineId() } = identity
  if (seed.length !== SEED || !/^[0-9a-f]{32}$/.test(machineId)) {
    throw new UsageError('an identity has 64 random bytes and a machine-id of 32 digits')
  }
  return Buffer.concat([seed, Buffer.from(machineId + hostname)])
}

export function newSeed(): Uint8Array {
  return randomBytes(SEED)
}

function newMachineId(): string {
  return crypto.randomUUID().replaceAll('-', '')
}
