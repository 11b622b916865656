import { PassThrough } from 'node:stream'
import type { Console } from '../../console/console.ts'

/**
 * What a guest's kernel and init say on a line that is a terminal as well: all of it until its shell is
 * under our protocol, then only lines as the kernel writes them.
 *
 * @param exited resolves when nothing more will come
 */
export function kernelLines(console: Console, exited: Promise<unknown>): PassThrough {
  const lines = new PassThrough()
  let isBooting = true
  let unfinished = ''
  const unsubscribe = console.subscribe({
    text: (text) => {
      if (isBooting) {
        lines.write(text)
        return
      }
      const whole = (unfinished + text).split('\n')
      unfinished = whole.pop() ?? ''
      for (const line of whole) {
        const at = line.search(/\[ *\d+\.\d{6}\]/)
        if (at !== -1) lines.write(`${line.slice(at)}\n`)
      }
    },
    mark: () => {
      isBooting = false
    },
  })
  void exited.then(() => {
    unsubscribe()
    lines.destroy()
  })
  return lines
}
