import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { InfrastructureError } from '../../src/errors.ts'
import type { FileFacts, Host } from '../../src/host/host.ts'
import { localHost } from '../../src/host/local.ts'
import { chooseAccel } from '../../src/qemu/accel.ts'
import { probe } from '../../src/qemu/accel-probe.ts'
import { PROBE_PASSED, probeRom } from '../../src/qemu/probe-rom.ts'

const QEMU = 'qemu-system-x86_64'
const SOURCE = new URL('../../fixtures/accel/probe.S', import.meta.url).pathname
let dir: string

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'accel-'))
})
afterEach(() => rm(dir, { recursive: true }))

describe('the ROM', () => {
  test.skipIf(!installed('as'))('is what its source assembles to', async () => {
    assemble(SOURCE, `${dir}/probe.rom`)
    expect(Buffer.compare(await readFile(`${dir}/probe.rom`), probeRom())).toBe(0)
  })

  test.each(['max', 'qemu64'])('comes to its end under TCG on %s', async (cpu) => {
    const host = localHost()
    expect(await probe({ host, qemu: QEMU, dir, accel: 'tcg', cpu })).toEqual({ works: true })
    expect(await readdir(dir)).toEqual([])
  })

  // An accelerator that stops at any of these would be told from one that works.
  test.skipIf(!installed('as')).each([
    ['long mode', 'or $0x101, %eax', 'or $0x001, %eax', 'crashes with it after protected mode'],
    ['the page fault', 'movl $(PD + 7), PDPT_LOW + 8', 'nop', 'hangs with it after long mode'],
    ['the timer', 'movl $0x700, 0x350(%rdi)', 'nop', 'hangs with it after a page fault'],
    ['syscall', 'mov $0x5a, %ebp', 'mov $0x5b, %ebp', 'crashes with it after user mode'],
    ['ring 3', 'cmpq $USER_CODE, 8(%rsp)', 'cmpq $CODE64, 8(%rsp)', 'after a system call'],
  ])('does not pass without %s', async (_, line, other, reason) => {
    const source = await readFile(SOURCE, 'utf8')
    expect(source.split(line)).toHaveLength(2)
    await writeFile(`${dir}/broken.S`, source.replace(line, other))
    assemble(`${dir}/broken.S`, `${dir}/broken.rom`)
    const host = withRom(await readFile(`${dir}/broken.rom`))
    const verdict = await probe({ host, qemu: QEMU, dir, accel: 'tcg', cpu: 'max' })
    expect(verdict).toMatchObject({ works: false, reason: expect.stringContaining(reason) })
  })
})

describe('what QEMU does, in words', () => {
  test.each([
    ['aborts', 'echo "warning: x" >&2; echo "q: failed to set MSR" >&2; kill -ABRT $$', true],
    ['QEMU refuses it (Could not access KVM)', 'echo "Could not access KVM" >&2; exit 1', false],
    ['QEMU refuses it (exit status 3)', 'exit 3', false],
    ['QEMU dies of SIGKILL with it', 'kill -KILL $$', false],
    ['crashes with it before its first instruction', 'exit 0', true],
    ['crashes with it after long mode', 'printf RPL', true],
  ])('%s', async (reason, script, lasting) => {
    const qemu = await fakeQemu(script)
    const options = { host: localHost(), qemu, dir, accel: 'kvm', cpu: 'host' } as const
    const verdict = await probe(options)
    expect(verdict).toEqual({ works: false, lasting, reason: expect.stringContaining(reason) })
  })

  test('a hang ends after its time, and QEMU with it', async () => {
    const qemu = await fakeQemu(`echo $$ >${dir}/pid; printf RP; exec tail -f /dev/null`)
    const options = { host: localHost(), qemu, dir, accel: 'kvm', cpu: 'host' } as const
    expect(await probe({ ...options, timeoutMs: 100 })).toEqual({
      works: false,
      lasting: true,
      reason: 'a 64-bit guest hangs with it after protected mode: 100 ms were not enough',
    })
    expect(existsSync(`/proc/${(await readFile(`${dir}/pid`, 'utf8')).trim()}`)).toBe(false)
  })

  /** A QEMU that does `first` once and `then` from then on. */
  const twice = (first: string, then: string) =>
    fakeQemu(`[ -e ${dir}/once ] || { touch ${dir}/once; ${first}; }; ${then}`)
  const hang = 'printf RP; exec tail -f /dev/null'

  test('a hang, then a good run: it works, and only the host stood still', async () => {
    const qemu = await twice(hang, `exit ${PROBE_PASSED}`)
    const options = { host: localHost(), qemu, dir, accel: 'kvm', cpu: 'host' } as const
    expect(await probe({ ...options, timeoutMs: 100 })).toEqual({ works: true })
  })

  test('a host that is too slow for the first try has five times as long for the second', async () => {
    const qemu = await fakeQemu(`printf RP; sleep 0.7; exit ${PROBE_PASSED}`)
    const options = { host: localHost(), qemu, dir, accel: 'kvm', cpu: 'host' } as const
    expect(await probe({ ...options, timeoutMs: 500 })).toEqual({ works: true })
  })

  test.each([
    ['a crash', 'printf RPL; exit 0', true, 'crashes with it after long mode'],
    ['a refusal', 'echo "kvm: busy" >&2; exit 1', false, 'QEMU refuses it (kvm: busy)'],
  ])('a hang, then %s: the second try counts', async (_, then, lasting, reason) => {
    const qemu = await twice(hang, then)
    const options = { host: localHost(), qemu, dir, accel: 'kvm', cpu: 'host' } as const
    const verdict = await probe({ ...options, timeoutMs: 100 })
    expect(verdict).toEqual({ works: false, lasting, reason: expect.stringContaining(reason) })
  })
})

describe('the choice', () => {
  test('TCG that is asked for needs no look at anything', async () => {
    const host = { name: 'bare' } as Host
    const { accel } = await chooseAccel({ host, qemu: QEMU, wanted: 'tcg', cacheDir: dir })
    expect(accel).toBe('tcg')
  })

  test('no /dev/kvm: said without starting QEMU', async () => {
    const host = withKvm(undefined)
    const notes: string[] = []
    const options = { host, qemu: await fakeQemu(`touch ${dir}/started`), cacheDir: dir }
    const chosen = await chooseAccel({ ...options, wanted: 'auto', onNote: (n) => notes.push(n) })
    const reason = 'TCG (slow): there is no /dev/kvm on this machine.'
    expect(chosen).toEqual({ accel: 'tcg', reason })
    expect(notes).toEqual([reason])
    expect(existsSync(`${dir}/started`)).toBe(false)
    const asked = chooseAccel({ ...options, wanted: 'kvm' })
    await expect(asked).rejects.toBeInstanceOf(InfrastructureError)
    await expect(asked).rejects.toThrow('KVM does not work on this machine: there is no /dev/kvm')
  })

  test('no right to /dev/kvm: the line to type', async () => {
    const groups = [
      [{ mode: 0o660, gid: 108 }, '(mode 660); type: sudo usermod -aG kvm $USER'],
      [{ mode: 0o600, gid: 0 }, 'type: sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo'],
    ] as const
    for (const [facts, words] of groups) {
      const host = withKvm({ ...KVM, ...facts, writable: false })
      const chosen = await chooseAccel({ host, qemu: QEMU, wanted: 'auto', cacheDir: dir })
      expect(chosen.accel).toBe('tcg')
      expect(chosen.reason).toContain(words)
    }
  })

  test('KVM where the guest comes to its end', async () => {
    const notes: string[] = []
    const options = { host: withKvm(KVM), qemu: await fakeQemu('exit 85'), cacheDir: dir }
    const chosen = await chooseAccel({ ...options, wanted: 'auto', onNote: (n) => notes.push(n) })
    expect(chosen.accel).toBe('kvm')
    expect(notes).toEqual([])
    expect((await chooseAccel({ ...options, wanted: 'kvm' })).accel).toBe('kvm')
  })

  test('a QEMU that is missing is an error of its own', async () => {
    const options = { host: withKvm(KVM), qemu: 'no-such-qemu', cacheDir: dir }
    await expect(chooseAccel({ ...options, wanted: 'auto' })).rejects.toThrow(
      'no-such-qemu is not installed',
    )
  })

  // Its kernel module passes for KVM until a guest leaves user mode.
  test.skipIf(!existsSync('/dev/kvm') || !existsSync('/sys/module/kvm_pvm'))(
    'kvm_pvm is refused, and named, with every CPU model',
    async () => {
      const host = localHost()
      const { accel, reason } = await chooseAccel({
        ...{ host, qemu: QEMU, wanted: 'auto', cacheDir: dir },
      })
      expect(accel).toBe('tcg')
      expect(reason).toMatch(/^TCG \(slow\): KVM is there but .*\(kernel module kvm_pvm\)\.$/)
      for (const cpu of ['host', 'host,arch-capabilities=off', 'qemu64', 'EPYC']) {
        const verdict = await probe({ host, qemu: QEMU, dir, accel: 'kvm', cpu })
        expect(verdict.works, cpu).toBe(false)
      }
    },
  )
})

describe('the cache', () => {
  const counted = (ending: string) => fakeQemu(`echo run >>${dir}/runs; ${ending}`)
  const runs = async () => (await readFile(`${dir}/runs`, 'utf8')).trim().split('\n').length
  const choose = (host: Host, qemu: string) =>
    chooseAccel({ host, qemu, wanted: 'auto', cacheDir: `${dir}/cache` })

  test('one trial serves all processes, for good news and bad', async () => {
    for (const [ending, accel] of [
      ['exit 85', 'kvm'],
      ['kill -ABRT $$', 'tcg'],
    ] as const) {
      await rm(`${dir}/runs`, { force: true })
      const qemu = await counted(ending)
      const first = await choose(withKvm(KVM), qemu)
      // Another host object has no memory of the first one's, as another process has none.
      expect(await choose(withKvm(KVM), qemu)).toEqual(first)
      expect(first.accel).toBe(accel)
      expect(await runs()).toBe(1)
      await rm(`${dir}/cache`, { recursive: true })
    }
  })

  test('those who ask at the same time share one trial', async () => {
    const qemu = await counted('exit 85')
    const host = withKvm(KVM)
    await Promise.all(Array.from({ length: 8 }, () => choose(host, qemu)))
    expect(await runs()).toBe(1)
  })

  test('another boot, QEMU, or right to KVM is another trial', async () => {
    const qemu = await counted('exit 85')
    await choose(withKvm(KVM), qemu)
    await choose(withKvm({ ...KVM, gid: 7 }), qemu)
    expect(await runs()).toBe(2)
    const rebooted = withKvm({ ...KVM, gid: 7 })
    const read = rebooted.readFile
    rebooted.readFile = (path) =>
      path.endsWith('boot_id') ? Promise.resolve(Buffer.from('other')) : read(path)
    await choose(rebooted, qemu)
    expect(await runs()).toBe(3)
    await writeFile(qemu, `${await readFile(qemu, 'utf8')}# another build\n`)
    await choose(rebooted, qemu)
    expect(await runs()).toBe(4)
  })

  test('another KVM module, or other parameters of it, is another trial', async () => {
    const qemu = await counted('kill -ABRT $$')
    const modules: Record<string, string> = {
      'kvm/coresize': '1376256',
      'kvm/parameters/ignore_msrs': 'N',
      'kvm_amd/srcversion': 'D7F9E4F1C5B1C0F6A1B2C3D',
      'kvm_amd/coresize': '200704',
      'kvm_amd/parameters/npt': 'N',
    }
    const host = withModules(modules)
    const trials = async () => {
      await choose(host, qemu)
      await choose(withModules(modules), qemu)
      return runs()
    }
    expect(await trials()).toBe(1)
    modules['kvm_amd/parameters/npt'] = 'Y'
    expect(await trials()).toBe(2)
    modules['kvm_amd/srcversion'] = '0F6A1B2C3DD7F9E4F1C5B1C'
    expect(await trials()).toBe(3)
    modules['kvm/coresize'] = '1380352' // a build without srcversion
    expect(await trials()).toBe(4)
    modules['kvm_pvm/parameters/nested'] = '0'
    expect(await trials()).toBe(5)
    delete modules['kvm_amd/srcversion']
    delete modules['kvm_amd/coresize']
    delete modules['kvm_amd/parameters/npt']
    expect(await trials()).toBe(6)
    expect(await trials()).toBe(6)
  })

  test('a parameter that only root can read is left out', async () => {
    const qemu = await counted('exit 85')
    const host = withModules({ 'kvm/coresize': '1', 'kvm/parameters/secret': '' })
    const { readFile } = host
    host.readFile = (path) =>
      path.endsWith('secret') ? Promise.reject(new Error('EACCES')) : readFile(path)
    expect((await choose(host, qemu)).accel).toBe('kvm')
    await choose(host, qemu)
    expect(await runs()).toBe(1)
  })

  test('what may be otherwise next time is not kept', async () => {
    const qemu = await counted('exit 1')
    const host = withKvm(KVM)
    await choose(host, qemu)
    await choose(host, qemu)
    expect(await runs()).toBe(2)
  })

  test('rubbish in it is replaced, and a folder that cannot be written is no error', async () => {
    const qemu = await counted('exit 85')
    await choose(withKvm(KVM), qemu)
    const [file] = await readdir(`${dir}/cache`)
    await writeFile(`${dir}/cache/${file}`, '{"key":')
    await choose(withKvm(KVM), qemu)
    expect(await runs()).toBe(2)
    await choose(withKvm(KVM), qemu)
    expect(await runs()).toBe(2)
    const host = withKvm(KVM)
    const write = host.writeFile
    host.writeFile = (path, data) =>
      path.endsWith('.json') ? Promise.reject(new Error('read-only')) : write(path, data)
    await rm(`${dir}/cache`, { recursive: true })
    expect((await choose(host, qemu)).accel).toBe('kvm')
  })
})

const KVM: FileFacts = {
  ...{ size: 0, mtimeMs: 0, mode: 0o660, uid: 0, gid: 108 },
  ...{ readable: true, writable: true },
}

/** This machine, but for what its /dev/kvm is: tests cannot choose that, root least of all. */
function withKvm(kvm: FileFacts | undefined): Host {
  const host = localHost()
  return {
    ...host,
    fileFacts: async (path) => (path === '/dev/kvm' ? kvm : host.fileFacts(path)),
  }
}

/** This machine with these files below /sys/module. */
function withModules(files: Record<string, string>): Host {
  const host = withKvm(KVM)
  const { readFile, listDir } = host
  return {
    ...host,
    readFile: (path) => {
      if (!path.startsWith('/sys/module/')) return readFile(path)
      const text = files[path.slice('/sys/module/'.length)]
      return text === undefined
        ? Promise.reject(new Error('ENOENT'))
        : Promise.resolve(Buffer.from(text))
    },
    listDir: async (path) => {
      if (!path.startsWith('/sys/module')) return listDir(path)
      const folder = `${path}/`.slice('/sys/module/'.length)
      const inside = Object.keys(files).filter((name) => name.startsWith(folder))
      return [...new Set(inside.map((name) => name.slice(folder.length).split('/')[0] ?? ''))]
    },
  }
}

/** This machine, where the ROM that is written is another. */
function withRom(rom: Uint8Array): Host {
  const host = localHost()
  return { ...host, writeFile: (path, _, mode) => host.writeFile(path, rom, mode) }
}

async function fakeQemu(script: string): Promise<string> {
  const path = `${dir}/qemu-${crypto.randomUUID()}`
  await writeFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return path
}

function installed(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(`${folder}/${program}`))
}

/** As the head of the source says. */
function assemble(source: string, rom: string): void {
  const [object, elf] = [`${rom}.o`, `${rom}.elf`]
  execFileSync('as', ['--64', '-o', object, source])
  execFileSync('ld', ['-m', 'elf_x86_64', '-Ttext', '0xf0000', '-e', '0xffff0', '-o', elf, object])
  execFileSync('objcopy', ['-O', 'binary', '-j', '.text', elf, rom])
}
