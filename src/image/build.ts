import { InfrastructureError } from '../errors.ts'
import type { Host, RunOptions, RunResult } from '../host/host.ts'
import { performance } from '../time.ts'
import { ARCHS } from './arch.ts'
import { readProgress } from './progress.ts'
import { listOf, type Recipe } from './recipe.ts'
import { roomHint } from './space.ts'

export interface BuildOptions {
  host: Host
  recipe: Recipe
  /** An empty folder of the host; afterwards it holds `kernel`, `initrd`, `root` and `agent`. */
  folder: string
  onProgress: (line: string) => void
  signal?: AbortSignal
}

/** What was built, beside the files in the folder. */
export interface Built {
  rootFormat: 'squashfs'
  /** The kernel's release, as `uname -r` says it in the guest. */
  release: string
}

/**
 * Builds the default guest: the packages and a kernel from Debian's archive, and our own init.
 *
 * @throws InfrastructureError when a step fails, with what it printed last
 */
export async function buildGuest(options: BuildOptions): Promise<Built> {
  const { host, recipe, folder, onProgress } = options
  for (const [name, content] of recipe.files) {
    const path = `${folder}/recipe/${name}`
    await host.makeDir(path.slice(0, path.lastIndexOf('/')))
    await host.writeFile(path, content)
  }
  onProgress('compiling its agent')
  await compileAgent(options)
  await compileBuiltin(options)
  onProgress('asking the package archive')
  await unpackPackages(options)
  onProgress('packing its root image')
  await packRoot(options)
  const release = Buffer.from(await host.readFile(`${folder}/release`))
    .toString()
    .trim()
  for (const name of ['recipe', 'root.tar', 'release', 'tmp']) {
    await host.remove(`${folder}/${name}`)
  }
  return { rootFormat: 'squashfs', release }
}

async function compileAgent(options: BuildOptions): Promise<void> {
  const { recipe, folder } = options
  const sources = [...recipe.files.keys()].filter((name) => /^helper\/.*\.c$/.test(name))
  await step(options, ARCHS[recipe.architecture].compiler, [
    ...['-static', '-O2', '-std=c11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-s'],
    ...['-o', `${folder}/agent`],
    ...sources.map((name) => `${folder}/recipe/${name}`),
  ])
  // Guests of users' own are given it as a disk, and that is of whole sectors.
  await step(options, 'truncate', ['--size=%512', `${folder}/agent`])
}

/** Compiles the builtin that the guest's bashes load when they start: guest/bash/name.c. */
async function compileBuiltin(options: BuildOptions): Promise<void> {
  const { recipe, folder } = options
  await step(options, ARCHS[recipe.architecture].compiler, [
    ...['-shared', '-fPIC', '-O2', '-std=c11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-s'],
    ...['-o', `${folder}/recipe/name.so`, `${folder}/recipe/bash/name.c`],
  ])
}

const INSTALLED = ['--variant=essential']
/** Packages of another processor: none of their programs is run, and customize.sh does what is left. */
const UNPACKED = [
  ...['--variant=extract', '--include=?essential', '--include=usr-is-merged'],
  '--setup-hook=for dir in bin sbin lib; do mkdir -p "$1/usr/$dir"; ln -s usr/$dir "$1/$dir"; done',
]

async function unpackPackages(options: BuildOptions): Promise<void> {
  const { recipe, folder, onProgress, host, signal } = options
  const script = Buffer.from(recipe.files.get('image/customize.sh') ?? '').toString()
  const given = ['agent', 'recipe/name.so', 'recipe/image/modules.txt', 'recipe/image/pmds.txt']
  const hooks = [
    'mkdir "$1/vitest-dut"',
    ...given.map((name) => `upload ${quote(`${folder}/${name}`)} /vitest-dut/${baseName(name)}`),
    script, // its text, since as another user inside mmdebstrap its file may be out of reach
    ...['kernel', 'initrd', 'release'].map(
      (name) => `download /boot/${name} ${quote(`${folder}/${name}`)}`,
    ),
    'rm "$1/boot/kernel" "$1/boot/initrd" "$1/boot/release"',
  ]
  // Unprivileged, the root is unpacked by a mapped user that need not get into a user's home.
  const root = (await host.run('id', ['-u'], { signal })).stdout.trim() === '0'
  if (root) await host.makeDir(`${folder}/tmp`)
  // As root it mounts /proc and others in what it builds; were it killed, they would stay there.
  const ownMounts = root && (await host.run('unshare', ['--mount', 'true'])).exitCode === 0
  const mirror = process.env.VITEST_DUT_MIRROR
  const { native } = ARCHS[recipe.architecture]
  await step(
    options,
    'mmdebstrap',
    [
      ...['--verbose', `--architectures=${recipe.architecture}`],
      ...(native ? INSTALLED : UNPACKED),
      `--include=${listOf(recipe, 'image/packages.txt').join(',')}`,
      ...listOf(recipe, 'image/excludes.txt').map((pattern) => `--dpkgopt=path-${pattern}`),
      ...hooks.map((hook) => `--${native ? 'customize' : 'extract'}-hook=${hook}`),
      ...[recipe.suite, `${folder}/root.tar`],
      ...(mirror ? [mirror] : []),
    ],
    {
      leash: true,
      prefix: ownMounts ? ['unshare', '--mount', '--'] : [],
      ...(root ? { env: { TMPDIR: `${folder}/tmp` } } : {}),
      onOutput: readProgress(onProgress),
    },
  )
}

async function packRoot(options: BuildOptions): Promise<void> {
  const { folder } = options
  await step(options, 'sh', [
    '-c',
    'exec sqfstar -comp lz4 -no-progress -quiet "$1" <"$2"',
    ...['sh', `${folder}/root`, `${folder}/root.tar`],
  ])
}

async function step(
  { host, folder, signal }: BuildOptions,
  file: string,
  args: string[],
  { prefix = [], ...options }: RunOptions & { prefix?: string[] } = {},
): Promise<RunResult> {
  const startedAt = performance.now()
  const [first = file, ...rest] = [...prefix, file, ...args]
  const result = await host.run(first, rest, { ...options, signal })
  if (result.exitCode === 0) return result
  const full = /No space left on device/i.test(result.stdout + result.stderr)
  throw new InfrastructureError(`${file} ended with ${result.exitCode} on ${host.name}`, {
    command: file,
    elapsedMs: performance.now() - startedAt,
    tail: `${result.stdout}\n${result.stderr}`,
    hint: full
      ? roomHint(folder)
      : 'the default guest is built from the Debian archive, so the host must reach a mirror of it',
  })
}

// mmdebstrap splits the words of such a hook as a shell does.
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
