/** Bytes to and from a guest: QEMU's own terminal, or a terminal inside the guest. */
export interface ByteStream {
  onData(listener: (data: Uint8Array) => void): void
  write(data: string | Uint8Array): void
  /**
   * Passes on what is written to standard error, where that is apart from the terminal, before what the
   * terminal is given later.
   */
  onStderr?(listener: (data: Uint8Array) => void): void
}

/** The same bytes, of which those are kept that come before somebody listens. */
export function kept({ onData, write }: ByteStream): ByteStream {
  let before: Uint8Array[] = []
  let hear = (data: Uint8Array): void => void before.push(data)
  onData((data) => hear(data))
  return {
    write,
    onData: (listener) => {
      hear = listener
      for (const data of before) listener(data)
      before = []
    },
  }
}
