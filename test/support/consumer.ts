import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect } from 'vitest'

export const ROOT = join(import.meta.dirname, '../..')

const TSCONFIG = {
  compilerOptions: {
    target: 'es2023',
    module: 'nodenext',
    types: ['node'],
    strict: true,
    skipLibCheck: false,
    noEmit: true,
  },
}

/** A project outside of the repository, as a user has one. */
export interface Consumer {
  readonly dir: string
  /** Runs a program in it and expects success; gives what it printed. */
  run(file: string, ...args: string[]): Promise<string>
  write(files: Record<string, string>): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Packs the package as it would be published; the tarball's path. */
export async function pack(dir: string): Promise<string> {
  await run(ROOT, 'npm', 'pack', '--pack-destination', dir)
  const [name = ''] = (await readdir(dir)).filter((name) => name.endsWith('.tgz'))
  return join(dir, name)
}

/** A project outside of the repository, in which nothing is installed. */
export async function openProject(files: Record<string, string>): Promise<Consumer> {
  const dir = await mkdtemp(join(tmpdir(), 'dut-consumer-'))
  const consumer: Consumer = {
    dir,
    run: (file, ...args) => run(dir, file, ...args),
    write: async (files) => {
      for (const [name, text] of Object.entries(files)) {
        await mkdir(dirname(join(dir, name)), { recursive: true })
        await writeFile(join(dir, name), text)
      }
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true }),
  }
  const manifest = JSON.stringify({ type: 'module', private: true })
  await consumer.write({ 'package.json': manifest, ...files })
  return consumer
}

/** The same with nothing but the packed package and what its README tells to install. */
export async function openConsumer(packed?: string): Promise<Consumer> {
  const consumer = await openProject({ 'tsconfig.json': JSON.stringify(TSCONFIG) })
  try {
    const tarball = packed ?? (await pack(consumer.dir))
    const packages = [tarball, 'vitest@5.1.1', 'typescript@7.0.2', '@types/node@24.19.2']
    await consumer.run('npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', ...packages)
    return consumer
  } catch (error) {
    await consumer[Symbol.asyncDispose]()
    throw error
  }
}

/** Runs a program as somebody would in a terminal, not as a part of this test run. */
export async function attempt(cwd: string, file: string, ...args: string[]) {
  const ours =
    /^(npm_(command|lifecycle|package|config_(call|package|local_prefix|prefix))|VITEST(?!_DUT))/
  const env = Object.entries(process.env).filter(([name]) => !ours.test(name))
  const child = spawn(file, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...Object.fromEntries(env),
      PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
      NO_COLOR: '1',
      NODE_OPTIONS: '',
    },
  })
  const [stdout, stderr, [exitCode]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  return { exitCode, stdout, stderr }
}

async function run(cwd: string, file: string, ...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await attempt(cwd, file, ...args)
  expect(exitCode, `${file} ${args.join(' ')}\n${stdout}\n${stderr}`).toBe(0)
  return stdout
}
