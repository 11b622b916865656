/** Bytes to and from a guest: QEMU's own terminal, or a terminal inside the guest. */
export interface ByteStream {
  onData(listener: (data: Uint8Array) => void): void
  write(data: string | Uint8Array): void
}
