import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A disk whose boot sector prints `hello` at the serial port and stops. */
export function bootSector(dir: string, name: string): string {
  const print = [...Buffer.from('hello\r\n')].flatMap((byte) => [0xb0, byte, 0xee]) // mov al, byte; out dx, al
  const bytes = Buffer.alloc(1 << 20)
  bytes.set([0xba, 0xf8, 0x03, ...print, 0xf4, 0xeb, 0xfd]) // mov dx, 0x3f8; …; hlt; jmp back
  bytes.set([0x55, 0xaa], 510)
  const file = join(dir, name)
  writeFileSync(file, bytes)
  return file
}
