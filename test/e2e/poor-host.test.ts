import { spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { defaultCacheDir } from '../../src/host/cache-dir.ts'
import { localHost } from '../../src/host/local.ts'
import { changePages, readPages } from '../../src/lease/resources/pages.ts'
import { poll } from '../../src/wait.ts'
import { usePagesTurn } from '../support/pages-turn.ts'
import { isRunning } from '../support/processes.ts'
import { HEAD, makeProject, type Project, type Running } from '../support/project.ts'

usePagesTurn()

/** The lock folder is the project's own, so that all that is left in it is left by the project. */
let locks = ''
beforeEach(() => {
  locks = mkdtempSync(join(tmpdir(), 'dut-locks-'))
  vi.stubEnv('VITEST_DUT_LOCK_DIR', locks)
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(locks, { recursive: true })
})

const ROOT = process.getuid?.() === 0

/** A suite with one VM. @param spec its options, as source text */
const suite = (spec = `memory: '128M'`) => ({
  'a.spec.ts': `${HEAD}
import { userNet } from 'vitest-dut'
const test = dutTest({ vm: { ${spec} } })
test('runs', async ({ vm }) => { expect((await vm.exec('echo in')).stdout).toBe('in\\n') })
`,
})

/** What comes of a run that is over: nothing of it is left. */
async function outcome(project: Project, { ended }: Running = project.vitest()) {
  const result = await ended
  expect(project.processes()).toEqual([])
  expect(project.runFolders()).toEqual([])
  expect(readdirSync(locks).filter((name) => name.includes('@'))).toEqual([])
  return result
}

/** The run fails by itself, with this message and no other. */
async function refused(project: Project, message: RegExp | string, running?: Running) {
  const { status, signal, output } = await outcome(project, running)
  expect(output).toMatch(message)
  expect({ status, signal }).toEqual({ status: 1, signal: null })
  expect(output).not.toContain('error during close')
  return output
}

/** Mounts of a run's own, which are gone with it. @param script shell lines */
const apart = (...script: string[]) => [
  ...['unshare', '--mount', 'sh', '-c', ['set -e', ...script, 'exec "$@"'].join('\n'), 'sh'],
]
const NOBODY = 'setpriv --reuid 65534 --regid 65534 --clear-groups'

describe('a port of the range that another program listens on', () => {
  // Not of those that the kernel gives away, so the one before it is free too.
  const port = 24_081
  const listen = async () => {
    const server: Server = createServer()
    onTestFinished(() => void server.close())
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, '127.0.0.1', resolve)
    })
  }
  const project = (first: number, last: number) =>
    makeProject(suite(`memory: '128M', devices: [userNet({ forward: [22] })]`), {
      plugin: `dut({ duts: [{ name: 'dut0', ports: [${first}, ${last}] }] })`,
    })

  test('and that is the only one', async () => {
    await listen()
    const message = new RegExp(
      `needs 1 host port of ${port} to ${port}, 0 free: .*1 used by other programs \\(${port}\\)\n→ .*ports: \\[first, last\\]`,
    )
    await refused(project(port, port), message)
  })

  test('the other one of two is taken', async () => {
    await listen()
    expect(await outcome(project(port - 1, port))).toMatchObject({ status: 0 })
  })
})

describe.runIf(ROOT)('huge pages', () => {
  const host = localHost()
  const pool = async () => {
    const { pools } = await readPages(host)
    const found = pools.find(({ size, node }) => size === '2M' && node === 0)
    return found ?? expect.unreachable('this machine has no huge pages of 2M')
  }
  const project = (pages: number, options: string) =>
    makeProject(suite(`memory: { size: '${2 * pages}M', hugepages: '2M' }`), {
      plugin: `dut({ ${options} })`,
    })

  /** A program that has nothing to do with us and takes 64 pages, which were added for it. */
  async function takePages() {
    await changePages(host, await pool(), 64)
    const { free } = await pool()
    const memory = 'memory-backend-memfd,id=m,size=128M,hugetlb=on,hugetlbsize=2M,prealloc=on'
    const args = ['-machine', 'none', '-nodefaults', '-display', 'none', '-object', memory]
    const program = spawn('qemu-system-x86_64', args, { stdio: 'ignore' })
    const ended = new Promise((resolve) => program.once('exit', resolve))
    const end = async () => {
      program.kill('SIGKILL')
      await ended
    }
    onTestFinished(async () => {
      await end()
      await changePages(host, await pool(), -64)
    })
    await poll(async () => ((await pool()).free <= free - 64 ? true : undefined), {
      timeoutMs: 30_000,
    })
    return end
  }

  test('that another program has: the run waits, and says for what, and fails in time', async () => {
    await takePages()
    const { free } = await pool()
    const lack = `needs ${free + 64} pages of 2M on node 0, ${free} free; other programs have the rest`
    const output = await refused(
      project(free + 64, `waitTimeout: '3s'`),
      new RegExp(`InfrastructureError: dut0: vm0 ${lack} \\(after [\\d.]+ s\\)\n→ `),
    )
    expect(output).toMatch(new RegExp(`a\\.spec\\.ts {2}dut0 {2}waits for the host: vm0 ${lack}`))
  })

  test('that another program has: the run goes on when they are free', async () => {
    const end = await takePages()
    const waiting = project((await pool()).free + 64, `waitTimeout: '5m'`)
    const running = waiting.vitest()
    await vi.waitFor(() => expect(running.output()).toContain('waits for the host'), 30_000)
    await end()
    expect(await outcome(waiting, running)).toMatchObject({ status: 0 })
  })

  test('of which there are none: fails at once, with the line to type', async () => {
    const { total } = await pool()
    const line = `echo ${total + 64} >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages`
    await refused(
      project(total + 64, ''),
      new RegExp(
        `dut0: vm0 needs ${total + 64} pages of 2M on node 0, ${total} free, even with nobody else on the host\n` +
          `→ let the plugin add some, dut\\({ hugepages: { grow: true } }\\), or type, as root: ${line}\n`,
      ),
    )
  })

  test('of which there are none: the plugin adds some where it may, and takes them away', async () => {
    const { total } = await pool()
    const growing = project(total + 64, 'hugepages: { grow: true }')
    expect(await outcome(growing)).toMatchObject({ status: 0 })
    expect((await pool()).total).toBe(total)
  })

  test('and memory too little to add some: both are told', async () => {
    const output = await refused(
      project(2 ** 24, 'hugepages: { grow: true }'),
      /needs 16777216 pages of 2M on node 0, \d+ free.*even with nobody else/,
    )
    expect(output).toContain('→ there is too little memory to add more pages')
  })
})

describe.runIf(ROOT)('a folder', () => {
  test('for locks that is read-only', async () => {
    const prefix = apart('mount -t tmpfs -o ro,mode=1777 tmpfs "$VITEST_DUT_LOCK_DIR"')
    await refused(
      makeProject(suite(), { prefix }),
      `the folder for lock files, ${locks}, cannot be written: Read-only file system\n` +
        '→ set VITEST_DUT_LOCK_DIR to a folder that every user of this host can write',
    )
  })

  test('for locks of somebody else, in which they can do as they like', async () => {
    const prefix = apart('mount -t tmpfs -o uid=65534,mode=777 tmpfs "$VITEST_DUT_LOCK_DIR"')
    await refused(
      makeProject(suite(), { prefix }),
      new RegExp(
        `anybody could take others' locks away in ${locks}: it is not sticky\n` +
          `→ as root on this machine: chown root: ${locks} && chmod 1777 ${locks}`,
      ),
    )
  })

  test('for locks on a full disk', async () => {
    const prefix = apart(
      'mount -t tmpfs -o size=16k,mode=1777 tmpfs "$VITEST_DUT_LOCK_DIR"',
      'head -c 16k /dev/zero >"$VITEST_DUT_LOCK_DIR/filler" || true',
    )
    await refused(
      makeProject(suite(), { prefix }),
      new RegExp(`${locks}/lease@\\w+ cannot be written: ENOSPC.*\n→ make room on its file system`),
    )
  })

  test('for runs that is read-only', async () => {
    const prefix = apart('mkdir run', 'mount -t tmpfs -o ro,mode=700 tmpfs run')
    const project = makeProject(suite(), { prefix })
    await refused(
      project,
      `the run folder ${project.dir}/run cannot be written\n` +
        '→ set VITEST_DUT_RUN_DIR to a folder of your own with mode 700',
    )
  })

  test('for guests on a disk that is full: what is needed, and no draft', async () => {
    const project = makeProject(suite(), {
      prefix: apart('mount -t tmpfs -o size=5m tmpfs cache', 'trap "" EXIT'),
    })
    const cache = join(project.dir, 'cache')
    mkdirSync(cache)
    vi.stubEnv('VITEST_DUT_CACHE', cache)
    await refused(
      project,
      new RegExp(
        `cannot build the default guest in ${cache}/guest: it needs about 1000M of disk space, [45]M are free\n` +
          `→ make room on the disk of ${cache}/guest, e\\.g\\. with npx vitest-dut guest prune, or set VITEST_DUT_CACHE`,
      ),
    )
  })

  test('for guests that cannot be written', async () => {
    const project = makeProject(suite(), { prefix: apart('mount -t tmpfs -o ro tmpfs cache') })
    mkdirSync(join(project.dir, 'cache'))
    vi.stubEnv('VITEST_DUT_CACHE', join(project.dir, 'cache'))
    await refused(
      project,
      /the cache \S+\/cache\/guest cannot be made: EROFS.*\n→ set VITEST_DUT_CACHE to a folder that this user can write/,
    )
  })
})

describe.runIf(ROOT)('/dev/kvm that may not be used', () => {
  /** As a user without rights, with the guests of this machine to read. */
  const asNobody = (spec: string) => {
    const prefix = apart(
      'chown nobody . && chmod 755 .',
      'mount --bind "$GUESTS" cache',
      'mknod -m 600 kvm c 10 232',
      'mount --bind kvm /dev/kvm',
      `set -- ${NOBODY} "$@"`,
    )
    const project = makeProject(suite(spec), { prefix })
    vi.stubEnv('GUESTS', defaultCacheDir())
    vi.stubEnv('VITEST_DUT_CACHE', join(project.dir, 'cache'))
    vi.stubEnv('HOME', project.dir)
    mkdirSync(join(project.dir, 'cache'))
    chmodSync(locks, 0o1777)
    return project
  }
  /** Vitest's own files would go to the folder of packages, which is not theirs. */
  const WRITES_NOTHING = ['--configLoader', 'native', '--no-cache']
  const REASON =
    'no permission to use /dev/kvm (mode 600); type: sudo chgrp kvm /dev/kvm && ' +
    'sudo chmod 660 /dev/kvm && sudo usermod -aG kvm $USER  (and log in again)'

  test(`the VM runs with TCG, and it is said why`, async () => {
    const project = asNobody(`memory: '128M'`)
    const { status, output } = await outcome(project, project.vitest(...WRITES_NOTHING))
    expect(output).toContain(`dut0  TCG (slow): ${REASON}`)
    expect(status).toBe(0)
  })

  test(`an error where accel is 'kvm'`, async () => {
    const project = asNobody(`memory: '128M', accel: 'kvm'`)
    await refused(
      project,
      `KVM does not work on this machine: ${REASON}\n→ with accel 'auto' or 'tcg' the VMs run all the same`,
      project.vitest(...WRITES_NOTHING),
    )
  })
})

describe.runIf(ROOT)('a user whom passwd(5) does not know', () => {
  const UNKNOWN = 12_345
  const asUnknown = (...env: string[]) => {
    const prefix = apart(
      `chown ${UNKNOWN} . && chmod 755 .`,
      'mount --bind "$GUESTS" cache',
      `set -- setpriv --reuid ${UNKNOWN} --regid 0 --clear-groups env ${env.join(' ')} "$@"`,
    )
    const project = makeProject(suite(), { prefix })
    vi.stubEnv('GUESTS', defaultCacheDir())
    mkdirSync(join(project.dir, 'cache'))
    chmodSync(locks, 0o1777)
    onTestFinished(() => rmSync(`/dev/shm/vitest-dut-${UNKNOWN}`, { recursive: true, force: true }))
    return project
  }
  const WRITES_NOTHING = ['--configLoader', 'native', '--no-cache']

  // Vitest itself, without a home, needs a folder for its data.
  const HOMELESS = ['-u HOME', 'XDG_DATA_HOME=$PWD', 'TMPDIR=$PWD']

  test('has VMs, also without a home folder', async () => {
    const project = asUnknown(...HOMELESS, 'VITEST_DUT_CACHE=$PWD/cache')
    const { status, output } = await outcome(project, project.vitest(...WRITES_NOTHING))
    expect(output).not.toMatch(/uv_|SystemError/)
    expect(status, output).toBe(0)
  })

  test('is told what to set where neither a home nor a cache is named', async () => {
    const project = asUnknown('-u VITEST_DUT_CACHE', ...HOMELESS)
    await refused(
      project,
      /this user has no home folder: HOME is not set, and passwd\(5\) does not know uid 12345\n→ set HOME, or VITEST_DUT_CACHE/,
      project.vitest(...WRITES_NOTHING),
    )
  })
})

/** Sockets in such a folder would fail later, each in words of its own. */
test.each([
  ['a comma', 'a,b', 'has "," in it, which DPDK cannot read'],
  ['100 bytes', 'x'.repeat(100), 'is too long for the unix sockets in it'],
])('a run folder with %s is refused before anything starts', async (_, name, why) => {
  const project = makeProject(suite(), { prefix: ['env', `VITEST_DUT_RUN_DIR=/tmp/${name}`] })
  const output = await refused(project, `the run folder /tmp/${name} ${why}`)
  expect(output).toContain('→ set VITEST_DUT_RUN_DIR to another folder')
  expect(output).not.toContain('Unhandled')
  expect(existsSync(`/tmp/${name}`)).toBe(false)
})

/** A folder of links to all programs of this machine but one. */
function pathWithout(program: string): string {
  const bin = mkdtempSync(join(tmpdir(), 'dut-bin-'))
  onTestFinished(() => rmSync(bin, { recursive: true }))
  const found = new Map<string, string>()
  for (const folder of (process.env.PATH ?? '').split(':').reverse()) {
    const names = ((): string[] => {
      try {
        return readdirSync(folder)
      } catch {
        return []
      }
    })()
    for (const name of names) found.set(name, join(folder, name))
  }
  found.delete(program)
  for (const [name, file] of found) symlinkSync(file, join(bin, name))
  return bin
}

test.each([
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['setpriv', 'util-linux'],
  ['flock', 'util-linux'],
])('%s that is not installed', async (program, debian) => {
  vi.stubEnv('PATH', pathWithout(program))
  await refused(
    makeProject(suite()),
    `${program} is not installed on this machine\n→ on Debian: apt-get install ${debian}`,
  )
})

test('a backend that leaves a daemon fails the suite, and the daemon is dead', async () => {
  const project = makeProject({
    'a.spec.ts': `${HEAD}
const test = dutTest({
  vms: 0,
  backend: async (dut) => {
    const daemon = "cd /; echo $$ >" + process.cwd() + "/daemon; exec sleep 12345.25"
    await dut.exec("setsid --fork sh -c '" + daemon + "' </dev/null >/dev/null 2>&1", { check: true })
  },
})
test('sees it', async ({ dut }) => {
  await expect.poll(async () => (await dut.exec('pgrep -fx "sleep 12345.25"')).stdout).not.toBe('')
})
`,
  })
  const output = await refused(
    project,
    /dut0: the suite left behind:\n {2}process \d+, killed now: sleep 12345\.25\n→ end what a backend/,
  )
  expect(output).toMatch(/Tests {2}1 passed/)
  const pid = Number(await project.mark('daemon'))
  expect(isRunning(pid)).toBe(false)
})
