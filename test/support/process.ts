import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { waitFor } from '../../src/wait.ts'

/** Another Node process that runs a script of test/fixtures/programs, answers in lines, and can be killed. */
export function startProcess(
  script: string,
  args: readonly (string | number)[],
  { lockDir, prefix = [] }: { lockDir: string; prefix?: readonly string[] },
) {
  const path = fileURLToPath(new URL(`../fixtures/programs/${script}`, import.meta.url))
  const [file = '', ...rest] = [...prefix, process.execPath, path, ...args.map(String)]
  const child = spawn(file, rest, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, VITEST_DUT_LOCK_DIR: lockDir },
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
  return {
    pid: child.pid ?? 0,
    exited,
    /** The next line that it prints. */
    line: async (): Promise<string> => {
      const { value, done } = await waitFor(lines.next(), { timeoutMs: 30_000 })
      if (done) throw new Error(`${script} ended: ${JSON.stringify(await exited)}`)
      return value
    },
    say: (text: string) => void child.stdin.write(`${text}\n`),
    kill: async (signal: NodeJS.Signals = 'SIGKILL') => {
      child.kill(signal)
      await exited
    },
  }
}

export type TestProcess = ReturnType<typeof startProcess>

let told: AsyncIterator<string> | undefined

/** For the scripts: the next line of standard input. */
export async function nextLine(): Promise<string> {
  told ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  process.stdin.ref()
  const { value } = await told.next()
  process.stdin.unref() // a script that waits for no more ends by itself
  return value
}
