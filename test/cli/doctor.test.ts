import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statfsSync } from 'node:fs'
import { chmod, chown, mkdir, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { describe, expect, onTestFinished, test } from 'vitest'
import { roughSize } from '../../src/cli/output.ts'
import { localHost } from '../../src/host/local.ts'
import { openPty } from '../../src/host/pty.ts'
import { type CliOptions, cli, MAIN, makeBin, usePlace } from '../support/cli.ts'
import { CURRENT, GUEST_BYTES, OLD, putGuest } from '../support/guest-folders.ts'
import { putDraft, putTemplate } from '../support/template-folders.ts'

const place = usePlace()
const ROOT = userInfo().uid === 0
const AS_ROOT = ROOT ? '' : 'sudo '
const online = readFileSync('/sys/devices/system/cpu/online', 'utf8').trim()

interface Check {
  check: string
  status: 'ok' | 'degraded' | 'missing'
  detail: string
  fix?: string
}

/** What the doctor finds, by the name of the check. */
async function doctor(options: Partial<CliOptions> = {}) {
  const env = { ...place.env, ...options.env }
  const { stdout, stderr, exitCode } = await cli(['doctor', '--json'], { ...options, env })
  expect(stderr).toBe('')
  const { ok, checks }: { ok: boolean; checks: Check[] } = JSON.parse(stdout)
  expect(ok).toBe(checks.every(({ status }) => status !== 'missing'))
  expect(exitCode).toBe(ok ? 0 : 1)
  return Object.fromEntries(checks.map(({ check, ...found }) => [check, found]))
}

/** The programs that a run needs or can use; no test needs all of them to be here. */
const USED = ['setpriv', 'flock', 'taskset', 'ip', 'dpdk-testpmd', 'qemu-system-x86_64']
const SHELL = ['sh', 'mkdir', 'id', 'stat', 'grep']

/** A PATH with all that is used, some of it only to be found, but for one. */
async function pathWithout(missing: string, scripts: Record<string, string> = {}) {
  const found = { taskset: 'exit 0', ip: 'exit 0', 'dpdk-testpmd': 'exit 0', ...scripts }
  const qemu = 'echo "QEMU emulator version 7.2.0 (Some 1:7.2)"'
  const all: Record<string, string> = { 'qemu-system-x86_64': qemu, ...found }
  delete all[missing]
  const real = ['setpriv', 'flock'].filter((name) => name !== missing)
  return { env: { ...place.env, PATH: await makeBin(place.dir, [...SHELL, ...real], all) } }
}

describe('on this machine', () => {
  test('the JSON has exactly these keys, in an order that stays', async () => {
    const { stdout } = await cli(['doctor', '--json'], place)
    const answer = JSON.parse(stdout)
    expect(Object.keys(answer)).toEqual(['version', 'ok', 'checks'])
    expect(answer.version).toBe(1)
    const names = answer.checks.map(({ check }: Check) => check)
    const pools = names.filter((name: string) => name.startsWith('hugepages node'))
    expect(names).toEqual([
      ...['node', 'node-pty', 'qemu', 'acceleration', 'setpriv', 'flock', 'taskset', 'ip'],
      ...['memory', 'cpus'],
      ...pools,
      ...['lock folder', 'run folder', 'guest cache', 'guest', 'guest build', 'templates'],
      ...['testpmd', 'user', 'kvm device', 'taps', 'hugepages growth'],
    ])
    for (const found of answer.checks) {
      const keys = ['check', 'status', 'detail', ...('fix' in found ? ['fix'] : [])]
      expect(Object.keys(found)).toEqual(keys)
      expect(['ok', 'degraded', 'missing']).toContain(found.status)
      expect(found.detail).toMatch(/^[^\n]+$/)
      if ('fix' in found) execFileSync('sh', ['-n', '-c', found.fix])
    }
  })

  test('Node, QEMU and the programs are those that are here', async () => {
    const found = await doctor()
    expect(found.node?.detail).toContain(`${process.version} (${process.execPath}); `)
    const version = execFileSync('qemu-system-x86_64', ['--version']).toString()
    const [, number] = /version (\S+)/.exec(version) ?? []
    expect(found.qemu).toMatchObject({ detail: `${number} (${which('qemu-system-x86_64')})` })
    for (const name of USED.filter((name) => !name.startsWith('qemu'))) {
      const check = found[name === 'dpdk-testpmd' ? 'testpmd' : name]
      const path = which(name)
      expect(check).toMatchObject(path === '' ? { fix: /apt-get/ } : { status: 'ok', detail: path })
    }
  })

  test('there is a check for each node and size of huge page', async () => {
    const nodes = '/sys/devices/system/node'
    const wanted = readdirSync(nodes)
      .filter((name) => /^node\d/.test(name) && existsSync(`${nodes}/${name}/hugepages`))
      .flatMap((node) =>
        readdirSync(`${nodes}/${node}/hugepages`).map((pool) => {
          const size = { 'hugepages-2048kB': '2M', 'hugepages-1048576kB': '1G' }[pool] ?? pool
          return [`hugepages ${node} ${size}`, `${nodes}/${node}/hugepages/${pool}`] as const
        }),
      )
    expect(wanted.length).toBeGreaterThan(0)
    // Other runs add pages and give them back, so both looks have to fall into the same moment.
    await expect
      .poll(
        async () => {
          const found = await doctor()
          return wanted.filter(([name, folder]) => {
            const total = Number(readFileSync(`${folder}/nr_hugepages`, 'utf8'))
            const detail = found[name]?.detail ?? ''
            return !(total === 0 ? detail === 'no pages' : detail.startsWith(`${total} page`))
          })
        },
        { timeout: 30_000 },
      )
      .toEqual([])
  })

  test('the user’s rights are what the kernel says', async () => {
    const found = await doctor()
    expect(found.user?.detail).toMatch(ROOT ? /^root$/ : /not root$/)
    // In a network of its own, a tap does not get in anybody's way.
    const alone = (...command: string[]) => spawnSync('unshare', ['--net', ...command]).status === 0
    if (alone('true')) {
      const made = alone('ip', 'tuntap', 'add', 'dev', 'dut-test', 'mode', 'tap')
      expect(found.taps?.status).toBe(made ? 'ok' : 'degraded')
    }
    if (!existsSync('/dev/kvm')) expect(found.acceleration?.detail).toContain('no /dev/kvm')
    else if (found.acceleration?.status === 'ok') expect(found['kvm device']?.status).toBe('ok')
  })
})

describe('memory and CPUs', () => {
  test('are those of the machine', async () => {
    const found = await doctor()
    expect(found.memory?.status).toBe('ok')
    expect(found.memory?.detail).toMatch(/^[\d.]+[MG] of [\d.]+G available$/)
    expect(found.cpus).toEqual({ status: 'ok', detail: online })
  })

  test.skipIf(online === '0')('are fewer where taskset(1) says so', async () => {
    const found = await doctor({ prefix: ['taskset', '-c', '0'] })
    expect(found.cpus?.detail).toBe(`0 of ${online}: taskset or a cpuset`)
  })

  const V1 = '/sys/fs/cgroup/memory'
  test.skipIf(!ROOT || !existsSync(`${V1}/memory.limit_in_bytes`))(
    'are fewer where a control group says so',
    async () => {
      const group = `${V1}/vitest-dut-test-${crypto.randomUUID()}`
      await mkdir(group)
      onTestFinished(() => rmdir(group))
      await writeFile(`${group}/memory.limit_in_bytes`, '480M')
      const enter = `echo $$ >${group}/cgroup.procs; exec "$@"`
      const found = await doctor({ prefix: ['sh', '-c', enter, 'sh'] })
      expect(found.memory?.status).toBe('degraded')
      expect(found.memory?.detail).toMatch(
        /^[\d.]+M of 480M available, a control group's limit on [\d.]+G: too little for most VMs$/,
      )
    },
  )
})

describe('what is missing', () => {
  test.each([
    ['qemu-system-x86_64', 'qemu', 'missing', 'qemu-system-x86'],
    ['flock', 'flock', 'missing', 'util-linux'],
    ['setpriv', 'setpriv', 'missing', 'util-linux'],
    ['taskset', 'taskset', 'degraded', 'util-linux'],
    ['ip', 'ip', 'degraded', 'iproute2'],
    ['dpdk-testpmd', 'testpmd', 'degraded', 'dpdk-dev'],
  ])('%s', async (program, check, status, debianPackage) => {
    await putGuest(place.env.VITEST_DUT_CACHE as string, CURRENT)
    const found = await doctor(await pathWithout(program))
    expect(found[check]).toEqual({
      status,
      detail: expect.stringContaining(`${program} is not installed on this machine`),
      fix: `${AS_ROOT}apt-get install ${debianPackage}`,
    })
    for (const other of ['taskset', 'ip', 'testpmd', 'guest']) {
      if (other !== check) expect(found[other]?.status).toBe('ok')
    }
  })

  test('without setpriv no program runs, and each check says so', async () => {
    const found = await doctor(await pathWithout('setpriv'))
    for (const check of ['qemu', 'lock folder', 'run folder', 'guest build']) {
      expect(found[check]).toMatchObject({
        status: 'missing',
        fix: `${AS_ROOT}apt-get install util-linux`,
      })
    }
  })

  test.each([
    ['7.1.9', 'degraded'],
    ['6.2.0', 'degraded'],
    ['7.2.0', 'ok'],
    ['10.0.2', 'ok'],
  ])('links need QEMU 7.2, and this is %s', async (version, status) => {
    const options = await pathWithout('', {
      'qemu-system-x86_64': `echo "QEMU emulator version ${version}"`,
    })
    const { qemu } = await doctor(options)
    expect(qemu?.status).toBe(status)
    expect(qemu?.detail.includes('link() needs 7.2')).toBe(status === 'degraded')
  })

  test('a QEMU that does not run', async () => {
    const options = await pathWithout('', {
      'qemu-system-x86_64': 'echo "cannot load libfoo.so" >&2; exit 127',
    })
    expect((await doctor(options)).qemu).toMatchObject({
      status: 'missing',
      detail: expect.stringMatching(/qemu-system-x86_64 does not run: cannot load libfoo\.so$/),
    })
  })
})

describe('the guest', () => {
  const cache = () => place.env.VITEST_DUT_CACHE as string

  test('that is not built', async () => {
    await putGuest(cache(), OLD)
    const found = await doctor()
    expect(found.guest).toMatchObject({ status: 'degraded', fix: 'npx vitest-dut guest build' })
    expect(found['guest cache']).toEqual({ status: 'ok', detail: `${cache()}: 1 guest, 3.0K` })
  })

  test('that is built', async () => {
    await putGuest(cache(), OLD)
    const folder = await putGuest(cache(), CURRENT)
    const found = await doctor()
    expect(found.guest).toEqual({ status: 'ok', detail: `${folder} (Linux 6.1.0-test)` })
    const size = (2 * GUEST_BYTES) / 1024
    expect(found['guest cache']?.detail).toBe(`${cache()}: 2 guests, ${size.toFixed(1)}K`)
  })

  test('of which a part is gone', async () => {
    const folder = await putGuest(cache(), CURRENT)
    await rm(`${folder}/initrd`)
    expect((await doctor()).guest).toEqual({
      status: 'missing',
      detail: `${folder}/initrd cannot be read`,
      fix: `rm -r ${folder} && npx vitest-dut guest build`,
    })
  })

  test.each([
    ['not there', 'missing'],
    ['there', 'degraded'],
  ])('cannot be built, while it is %s', async (where, status) => {
    if (where === 'there') await putGuest(cache(), CURRENT)
    const { 'guest build': tools } = await doctor(await pathWithout(''))
    expect(tools).toMatchObject({
      status,
      detail: expect.stringMatching(/^cannot build the default guest: missing mmdebstrap, gcc/),
      fix: expect.stringMatching(/^(sudo )?apt-get install mmdebstrap gcc squashfs-tools /),
    })
  })
})

describe('the lock folder', () => {
  const locks = () => place.env.VITEST_DUT_LOCK_DIR as string
  const look = async () => (await doctor())['lock folder']

  test('for all users', async () => {
    expect(await look()).toMatchObject({
      status: 'ok',
      detail: `${locks()} (owner ${ROOT ? 'root' : 'this user'}, mode 1777), shared by all users`,
    })
  })

  test('of this user alone', async () => {
    await mkdir(locks())
    await chmod(locks(), 0o700)
    expect(await look()).toEqual({
      status: 'degraded',
      detail: expect.stringContaining("mode 700): this user's alone"),
      fix: `chmod 1777 ${locks()}`,
    })
  })

  test('in which anybody can take others’ locks away', async () => {
    await mkdir(locks())
    await chmod(locks(), 0o777)
    const found = await look()
    expect(found?.status).not.toBe('ok')
    expect(found?.fix).toBe(`chmod 1777 ${locks()}`)
  })

  test.runIf(ROOT)('of somebody else', async () => {
    await mkdir(locks())
    await chmod(locks(), 0o1777)
    await chown(locks(), 65534, 65534)
    const found = await look()
    expect(found?.status).not.toBe('ok')
    expect(found?.detail).toContain(locks())
    expect(found?.fix).toMatch(/^chown root/)
  })

  test('that cannot be', async () => {
    await writeFile(locks(), '')
    expect(await look()).toMatchObject({
      status: 'missing',
      detail: expect.stringContaining(locks()),
      fix: 'unset VITEST_DUT_LOCK_DIR',
    })
  })
})

/** A user whom passwd(5) does not know, as OpenShift and `docker run --user` make one. */
describe.runIf(ROOT)('a user without a name', () => {
  const UNKNOWN = 12_345
  const as = async (env: Record<string, string>) => {
    await mkdir(`${place.dir}/home`)
    await chown(`${place.dir}/home`, UNKNOWN, 0)
    onTestFinished(() => rm(`/dev/shm/vitest-dut-${UNKNOWN}`, { recursive: true, force: true }))
    const own = ['setpriv', '--reuid', `${UNKNOWN}`, '--regid', '0', '--clear-groups', '--']
    const unset = ['env', '-i', `PATH=${process.env.PATH}`, `TMPDIR=${place.dir}/home`]
    const vars = Object.entries(env).map(([key, value]) => `${key}=${value}`)
    const { stdout, stderr } = await cli(['doctor', '--json'], {
      env: {},
      prefix: [...own, ...unset, ...vars],
    })
    expect(stderr).toBe('')
    expect(stdout).not.toMatch(/uv_|SystemError|TypeError/)
    const { checks } = JSON.parse(stdout) as { checks: (Check & { check: string })[] }
    return Object.fromEntries(checks.map(({ check, ...found }) => [check, found]))
  }

  test('has all folders', async () => {
    const found = await as({ HOME: `${place.dir}/home` })
    expect(found.user?.detail).toBe(`uid ${UNKNOWN}, not root`)
    expect(found['run folder']).toMatchObject({
      status: 'ok',
      detail: `${place.dir}/home/vitest-dut-${UNKNOWN} (owner this user, mode 700)`,
    })
    expect(found['guest cache']?.detail).toContain(`${place.dir}/home/.cache/vitest-dut`)
    expect(found.templates?.detail).toContain(`vitest-dut-${UNKNOWN}`)
  })

  test.each<[Record<string, string>]>([[{}], [{ HOME: '' }]])(
    'and without a home, %j, is told what to set',
    async (env) => {
      const found = await as(env)
      expect(found['guest cache']).toMatchObject({
        status: 'missing',
        detail:
          'this user has no home folder: HOME is not set, and passwd(5) does not know uid ' +
          `${UNKNOWN}: set HOME, or VITEST_DUT_CACHE, to a folder of this user's`,
      })
      expect(found['run folder']?.status).toBe('ok')
    },
  )

  test('and without a home needs none where its folders are named', async () => {
    const found = await as({ VITEST_DUT_CACHE: `${place.dir}/home/cache` })
    expect(found['guest cache']?.status).toBe('ok')
    expect(
      Object.values(found)
        .map(({ detail }) => detail)
        .join('\n'),
    ).not.toMatch(/no home/)
  })

  test.each([
    ['that is not there', () => '/run/user/nowhere'],
    ['that is another’s', () => '/run/user'],
  ])('does without an XDG_RUNTIME_DIR %s', async (_, runtime) => {
    const found = await as({ HOME: `${place.dir}/home`, XDG_RUNTIME_DIR: runtime() })
    expect(found['run folder']?.detail).toContain(`${place.dir}/home/vitest-dut-${UNKNOWN} `)
  })
})

describe('the run folder', () => {
  const runs = () => place.env.VITEST_DUT_RUN_DIR as string
  const look = async () => (await doctor())['run folder']

  test('is made as a run would make it', async () => {
    const owner = ROOT ? 'root' : 'this user'
    const detail = `${runs()} (owner ${owner}, mode 700)`
    expect(await look()).toEqual({ status: 'ok', detail })
    expect((await stat(runs())).mode & 0o7777).toBe(0o700)
  })

  test('that others may look into', async () => {
    await mkdir(runs())
    await chmod(runs(), 0o755)
    expect(await look()).toMatchObject({
      status: 'missing',
      detail: expect.stringContaining("is not a folder of this user's alone"),
      fix: 'unset VITEST_DUT_RUN_DIR',
    })
  })
})

describe('the templates', () => {
  const store = () => place.env.VITEST_DUT_TEMPLATES as string
  const look = async () => (await doctor()).templates
  /** Rounded as the doctor does it; what is counted comes from elsewhere. */
  const taken = () => roughSize(du(`${store()}/*`))
  const limit = () => {
    const { blocks, bsize } = statfsSync(store())
    return roughSize(Math.min(8 * 2 ** 30, (blocks * bsize) / 4))
  }

  test('are where they are kept, which is made for this user alone', async () => {
    const found = await look()
    expect(found).toEqual({ status: 'ok', detail: `${store()}: 0 templates, 0B of ${limit()}` })
    expect((await stat(store())).mode & 0o7777).toBe(0o700)
  })

  test('are counted, with what they take of the room for them', async () => {
    await putTemplate(store(), 1)
    expect((await look())?.detail).toBe(`${store()}: 1 template, ${taken()} of ${limit()}`)
    const used = await putTemplate(store(), 2, { megabytes: 3 })
    await putDraft(store(), 3)
    const lock = await localHost().lock(used, { shared: true })
    onTestFinished(() => lock.release())
    const detail = `${store()}: 3 templates (1 in use), ${taken()} of ${limit()}`
    expect(await look()).toEqual({ status: 'ok', detail })
  })

  test('cannot be kept in a folder that others may look into', async () => {
    await mkdir(store())
    await chmod(store(), 0o755)
    expect(await look()).toEqual({
      status: 'degraded',
      detail:
        `${store()} is not a folder of this user's alone: remove it, or set ` +
        'VITEST_DUT_TEMPLATES to a folder of your own with mode 700',
    })
  })

  test('cannot be kept where there is no folder', async () => {
    await writeFile(store(), '')
    expect(await look()).toMatchObject({
      status: 'degraded',
      detail: expect.stringContaining(`the folder of templates ${store()} cannot be made`),
    })
  })
})

// As root somebody else can be played, and another machine: in a mount namespace, so that nothing of
// this one is touched.
describe.runIf(ROOT)('played', () => {
  const unshared = (script: string) => ['unshare', '--mount', 'sh', '-ec', `${script}\nexec "$@"`]

  test('a user without rights', async () => {
    const own = `${place.dir}/own`
    await mkdir(own)
    await chown(own, 65534, 65534)
    const { PATH } = (await pathWithout('ip')).env
    const found = await doctor({
      prefix: ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--'],
      env: {
        PATH,
        VITEST_DUT_CACHE: '/nowhere/cache',
        VITEST_DUT_LOCK_DIR: `${own}/locks`,
        VITEST_DUT_RUN_DIR: `${own}/runs`,
      },
    })
    expect(found.user).toEqual({ status: 'ok', detail: 'nobody (uid 65534), not root' })
    expect(found.ip?.fix).toBe('sudo apt-get install iproute2')
    expect(found.taps?.status).toBe('degraded')
    expect(found['hugepages growth']?.status).toBe('degraded')
    expect(found['guest cache']).toMatchObject({
      status: 'degraded',
      detail: expect.stringContaining('cannot be written'),
    })
    expect(found['lock folder']?.detail).toContain('owner this user, mode 1777')
    expect(found.templates).toMatchObject({
      status: 'degraded',
      detail: expect.stringContaining('templates cannot be made'),
    })
    if (!existsSync('/dev/kvm')) return
    const fix = expect.stringContaining('sudo usermod -aG kvm $USER')
    expect(found['kvm device']).toMatchObject({ status: 'degraded', fix })
    expect(found.acceleration).toMatchObject({
      ...{ status: 'degraded', fix },
      detail: expect.stringMatching(/^TCG \(slow\): no permission to use \/dev\/kvm \(mode \d+\)$/),
    })
  })

  test('root without the right to make taps', async () => {
    const found = await doctor({ prefix: ['setpriv', '--bounding-set=-net_admin', '--'] })
    expect(found.taps).toEqual({
      status: 'degraded',
      detail: 'may not make taps: that needs root or CAP_NET_ADMIN',
    })
  })

  test('a machine without /dev/kvm and tun', async () => {
    const found = await doctor({
      prefix: [
        ...unshared(`
          mount -t tmpfs tmpfs /dev
          mknod -m 666 /dev/null c 1 3
          mknod -m 666 /dev/urandom c 1 9`),
        'sh',
      ],
    })
    expect(found.acceleration).toMatchObject({
      status: 'degraded',
      detail: 'TCG (slow): there is no /dev/kvm on this machine',
    })
    const cpu = readFileSync('/proc/cpuinfo', 'utf8')
    const module = /\bvmx\b/.test(cpu) ? 'kvm_intel' : /\bsvm\b/.test(cpu) ? 'kvm_amd' : undefined
    expect(found['kvm device']).toEqual({
      status: 'degraded',
      detail: 'there is no /dev/kvm',
      ...(module && { fix: `modprobe ${module}` }),
    })
    expect(found.taps).toMatchObject({ status: 'degraded', fix: 'modprobe tun' })
  })

  test.each([
    ['1G', 'degraded', '256M: little room; VITEST_DUT_TEMPLATES names another folder'],
    ['2G', 'ok', '512M'],
  ])('a file system for templates of %s', async (size, status, room) => {
    const store = place.env.VITEST_DUT_TEMPLATES as string
    await mkdir(store)
    const script = `mount -t tmpfs -o size=${size},mode=700 tmpfs ${store}`
    const found = await doctor({ prefix: [...unshared(script), 'sh'] })
    expect(found.templates).toEqual({ status, detail: `${store}: 0 templates, 0B of ${room}` })
  })

  test('huge pages on two nodes', async () => {
    const nodes = '/sys/devices/system/node'
    const pool = (node: number, kilobytes: number, total: number, free: number) => `
      mkdir -p ${nodes}/node${node}/hugepages/hugepages-${kilobytes}kB
      cd ${nodes}/node${node}/hugepages/hugepages-${kilobytes}kB
      echo ${total} >nr_hugepages; echo ${free} >free_hugepages`
    const pools = [pool(10, 2048, 512, 200), pool(2, 1_048_576, 0, 0), pool(2, 2048, 1, 1)]
    const script = `mount -t tmpfs tmpfs ${nodes}\n${pools.join('\n')}\ncd /`
    const found = await doctor({ prefix: [...unshared(script), 'sh'] })
    const names = Object.keys(found).filter((name) => name.startsWith('hugepages node'))
    expect(names).toEqual(['hugepages node2 2M', 'hugepages node2 1G', 'hugepages node10 2M'])
    expect(names.map((name) => found[name])).toEqual([
      { status: 'ok', detail: '1 page, 1 free' },
      {
        status: 'degraded',
        detail: 'no pages',
        fix: `echo 1 >${nodes}/node2/hugepages/hugepages-1048576kB/nr_hugepages`,
      },
      { status: 'ok', detail: '512 pages, 200 free' },
    ])
    expect(found['hugepages growth']?.status).toBe('ok')
  })

  test('a kernel without huge pages', async () => {
    const script = 'mount -t tmpfs tmpfs /sys/devices/system/node'
    const found = await doctor({ prefix: [...unshared(script), 'sh'] })
    expect(found.hugepages).toEqual({
      status: 'degraded',
      detail: 'this kernel has no huge pages',
    })
  })
})

describe('for people', () => {
  test('there is an aligned line for each check, its fix below, and a count', async () => {
    const options = await pathWithout('ip')
    const rendered = (found: [string, Omit<Check, 'check'>][]) => {
      const width = Math.max(...found.map(([name]) => name.length))
      const lines = found.flatMap(([name, { status, detail, fix }]) => [
        `${status.padEnd(8)}  ${name.padEnd(width)}  ${detail}`,
        ...(fix === undefined ? [] : [`${' '.repeat(width + 12)}→ ${fix}`]),
      ])
      const count = (status: string) => found.filter(([, check]) => check.status === status).length
      return [...lines, '', `${count('missing')} missing, ${count('degraded')} degraded`, '']
    }
    // Other runs add huge pages meanwhile and give them back: both have to have seen the same.
    await expect
      .poll(
        async () => {
          const wanted = rendered(Object.entries(await doctor(options)))
          const { stdout, exitCode } = await cli(['doctor'], options)
          return stdout === wanted.join('\n') ? exitCode : { stdout, wanted }
        },
        { timeout: 50_000 },
      )
      .toBe(1)
  })

  test.each([
    ['has colours', [], true],
    ['has none where NO_COLOR is set', ['NO_COLOR=1'], false],
  ])('a terminal %s, and sees what is under way', async (_, env, coloured) => {
    const variables = Object.entries(place.env).map(([name, value]) => `${name}=${value}`)
    const unset = ['NO_COLOR', 'FORCE_COLOR', 'NODE_DISABLE_COLORS', 'CI'].flatMap((name) => [
      ...['-u', name],
    ])
    const command = [...unset, 'TERM=xterm-256color', ...env, ...variables, process.execPath, MAIN]
    const pty = openPty('env', [...command, 'doctor'])
    let screen = ''
    pty.onData((data) => {
      screen += Buffer.from(data).toString()
    })
    await pty.exited
    expect(screen.includes('\x1b[32mok\x1b[39m')).toBe(coloured)
    expect(/\x1b\[3\dm/.test(screen)).toBe(coloured)
    const progress = screen.lastIndexOf('looking at ')
    expect(progress).toBeGreaterThanOrEqual(0)
    expect(screen.slice(progress)).toMatch(/^[^\r\n]* …\x1b\[1G\x1b\[0K[^…]*$/)
  })
})

/** Bytes that files and folders take, as du(1) counts them. */
function du(pattern: string): number {
  const lines = execFileSync('sh', ['-c', `du -sB1 -- ${pattern}`])
    .toString()
    .trim()
    .split('\n')
  return lines.reduce((sum, line) => sum + Number.parseInt(line, 10), 0)
}

function which(name: string): string {
  try {
    return execFileSync('sh', ['-c', 'command -v "$0"', name]).toString().trim()
  } catch {
    return ''
  }
}
