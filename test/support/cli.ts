import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { beforeEach, onTestFinished } from 'vitest'
import { findProgram } from '../../src/host/facts.ts'

export const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

/** Folders of a test's own, and the environment that has the command line use them. */
export interface Place {
  dir: string
  env: Record<string, string>
}

export function usePlace(): Place {
  const place: Place = { dir: '', env: {} }
  beforeEach(async () => {
    const dir = await mkdtemp(join(tmpdir(), 'dut-cli-'))
    // Registered first, done last: what the test started and ends with it makes files there until then.
    onTestFinished(() => rm(dir, { recursive: true, force: true }))
    await chmod(dir, 0o755) // for tests that are somebody else
    place.dir = dir
    place.env = {
      VITEST_DUT_CACHE: `${dir}/cache`,
      VITEST_DUT_LOCK_DIR: `${dir}/locks`,
      VITEST_DUT_RUN_DIR: `${dir}/runs`,
      VITEST_DUT_TEMPLATES: `${dir}/templates`,
    }
  })
  return place
}

export interface CliOptions {
  env: Record<string, string>
  /** Options of Node itself. */
  node?: readonly string[]
  /** A command that runs it. */
  prefix?: readonly string[]
}

/** Starts the command line as a process of its own. */
export function startCli(words: readonly string[], { env, node = [], prefix = [] }: CliOptions) {
  const [file = '', ...args] = [...prefix, process.execPath, ...node, MAIN, ...words]
  const { FORCE_COLOR, NODE_OPTIONS, ...ours } = process.env
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...ours, ...env } })
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]).then(
    ([stdout, stderr, [exitCode, signal]]) => ({ stdout, stderr, exitCode, signal }),
  )
  return { child, ended }
}

export function cli(words: readonly string[], options: CliOptions) {
  return startCli(words, options).ended
}

/** A folder for PATH with these programs of the machine, and scripts of the test's own. */
export async function makeBin(
  dir: string,
  programs: readonly string[],
  scripts: Record<string, string> = {},
): Promise<string> {
  const bin = await mkdtemp(join(dir, 'bin-'))
  await chmod(bin, 0o755)
  for (const name of programs) {
    const path = await findProgram(name)
    if (path === undefined) throw new Error(`the test needs ${name}`)
    await symlink(path, join(bin, name))
  }
  for (const [name, script] of Object.entries(scripts)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }
  return bin
}
