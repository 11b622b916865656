import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Agent } from '../../src/guest-protocol/agent.ts'
import { FromGuest } from '../../src/guest-protocol/frames.ts'
import type { Identity } from '../../src/guest-protocol/identity.ts'
import { RawGuest } from '../support/raw-guest.ts'

const SIGINT = 2
const SIGTERM = 15

let guest: RawGuest
beforeAll(async () => {
  guest = await RawGuest.boot()
})
afterAll(() => guest?.stop())

const text = async (script: string) => (await guest.run(script)).out.toString()

describe('the boot', () => {
  test('says in the kernel log how far it is', async () => {
    const log = await guest.kernelLog()
    expect(log).toMatch(/vitest-dut: modules[\s\S]*vitest-dut: root[\s\S]*vitest-dut: ready/)
    expect(log).not.toContain('failed')
  })

  test('leaves a machine that is set up', async () => {
    const found = await text(`
      hostname; cat /sys/class/net/lo/operstate /etc/machine-id
      awk '{print $2, $3}' /proc/mounts; ls -d /var/run/. /dev/fd/0; id -un; pwd`)
    expect(found).toMatch(/^raw0\nunknown\n[0-9a-f]{32}\n/)
    for (const mount of ['/ overlay', '/proc proc', '/sys sysfs', '/dev devtmpfs', '/run tmpfs']) {
      expect(found).toContain(mount)
    }
    for (const mount of ['/dev/pts devpts', '/dev/shm tmpfs', '/dev/hugepages hugetlbfs']) {
      expect(found).toContain(mount)
    }
    expect(found).toMatch(/root\n\/root\n$/)
    expect(await text('ping -c 1 -W 2 127.0.0.1')).toContain(' 0% packet loss')
  })

  test('the root can be written', async () => {
    expect((await guest.run('echo x >/usr/bin/made && rm /usr/bin/made /etc/passwd-')).status).toBe(
      0,
    )
  })

  test('the programs of the guest run', async () => {
    const { status, out } = await guest.run(`
      dpdk-devbind.py -s >/dev/null && ethtool --version && iperf3 --version && tcpdump --version &&
      lspci && modprobe vfio-pci && modprobe uio_pci_generic && ip -br link && mount | head -1`)
    expect(status, out.toString()).toBe(0)
  })

  test('testpmd starts', async () => {
    const { out } = await guest.run(
      'dpdk-testpmd --no-huge --no-pci -m 64 --lcores 0@0,1@0 --vdev=net_null0 -- -i --total-num-mbufs=2048',
      { input: 'show port summary all\nquit\n' },
    )
    expect(out.toString()).toContain('testpmd> ')
    expect(out.toString()).toMatch(/net_null/)
  })
})

describe('the console', () => {
  test('shows the banner of a shell and obeys what is typed', async () => {
    await guest.until(() => /\x1edut-shell \d+\x1e\n/.test(guest.console), 'the banner')
    guest.write('echo "[$TERM $HOME $PWD $LANG]"; stty size; stty -a | tr " " "\\n"; tty\n')
    await guest.until(() => guest.console.includes('/dev/hvc0\n'), "the tty's name")
    expect(guest.console).toContain('[dumb /root /root C.UTF-8]\n50 1000\n')
    for (const mode of ['-echo', 'icanon', 'isig', '-opost', '-ixon']) {
      expect(guest.console.split('\n')).toContain(mode)
    }
    expect(guest.console).not.toContain('\r')
  })

  test('comes back with a new banner when its shell ends', async () => {
    const banners = () => guest.console.match(/\x1edut-shell \d+\x1e\n/g) ?? []
    const before = banners().length
    guest.write('exit\n')
    await guest.until(() => banners().length > before, 'another banner')
    expect(new Set(banners()).size).toBe(before + 1)
  })
})

describe('a command', () => {
  test.each([
    ['true', 0],
    ['false', 1],
    ['exit 3', 3],
    ['exit 147', 147], // a shell's status for SIGSTOP, though nothing is stopped
    ['(exit 255)', 255],
    ['nosuchprogram', 127],
    ['kill -KILL $BASHPID', 137],
    ['kill -INT $BASHPID', 130],
    ['kill -SEGV $BASHPID', 139],
    ['kill -TERM $$', 143],
    ['exec sh -c "exit 9"', 9],
    ['if', 2],
    ['', 0],
  ])('%j has the status %i', async (script, status) => {
    expect(await guest.run(script)).toMatchObject({ status })
  })

  test('after each of those the next one is clean', async () => {
    await guest.run('cd /; export LEFT=1; left() { :; }; set -e -u; umask 0; exec >&-')
    expect(await text('pwd; echo "${LEFT-none} $(type -t left)"; umask; echo $-')).toMatch(
      /^\/root\nnone \n0022\n[^eum]*\n$/,
    )
  })

  test('has no terminal, a process group of its own, and no descriptor but its three', async () => {
    const found = await text('tty; p=$BASHPID; ps -o pgid= -p $p; echo $p; ls /proc/$p/fd; :')
    const [tty, group, pid, ...fds] = found.split('\n')
    expect(tty).toBe('not a tty')
    expect(group?.trim()).toBe(pid)
    expect(fds.filter((fd) => Number(fd) > 2 && Number(fd) < 10)).toEqual([])
  })

  test('has its standard error merged in order, or apart', async () => {
    const script = 'for i in 1 2 3; do echo o$i; echo e$i >&2; done'
    const merged = await guest.run(script)
    expect(merged.out.toString()).toBe('o1\ne1\no2\ne2\no3\ne3\n')
    const apart = await guest.run(script, { apart: true })
    expect(apart.out.toString()).toBe('o1\no2\no3\n')
    expect(apart.err.toString()).toBe('e1\ne2\ne3\n')
  })

  test('reads its input, or nothing', async () => {
    expect((await guest.run('wc -c')).out.toString()).toBe('0\n')
    const input = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 256))
    const { out } = await guest.run('cat', { input })
    expect(out.equals(input)).toBe(true)
  })

  test('may be a script of 100 kB', async () => {
    const script = `${'# padding padding padding padding\n'.repeat(3000)}echo $((6 * 7))\n`
    expect(script.length).toBeGreaterThan(100_000)
    expect(await guest.run(script)).toMatchObject({ status: 0, out: Buffer.from('42\n') })
  })

  test('may write 10 MB, which arrive exact', async () => {
    await guest.run('head -c 10000000 /dev/urandom >/dev/shm/big')
    const sum = await text('sha256sum </dev/shm/big')
    const { out } = await guest.run('cat /dev/shm/big; rm /dev/shm/big')
    expect(out.length).toBe(10_000_000)
    expect(sum).toContain(createHash('sha256').update(out).digest('hex'))
  })

  test('may write 200,000 lines', async () => {
    const { out } = await guest.run('seq 200000')
    const lines = out.toString().split('\n')
    expect(lines.length).toBe(200_001)
    expect(lines[199_999]).toBe('200000')
    expect(lines.findIndex((line, i) => i < 200_000 && line !== `${i + 1}`)).toBe(-1)
  })

  test('shows what it wrote before it ends', async () => {
    await guest.run('mkfifo /dev/shm/other')
    const waiting = guest.start('echo early; read -r line </dev/shm/other; echo "$line"')
    await guest.printed(waiting, 'early\n')
    await guest.run('echo late >/dev/shm/other; rm /dev/shm/other')
    expect((await guest.ended(waiting)).out.toString()).toBe('early\nlate\n')
  })

  test('ends although a background process keeps its pipe, which goes on undisturbed', async () => {
    const script = `
      (trap 'echo PIPE >/dev/shm/pipe' PIPE; echo $BASHPID >/dev/shm/pid
       while ! [ -e /dev/shm/stop ]; do echo more || echo bad >/dev/shm/pipe; sleep 0.01; done
       echo done >/dev/shm/end) &
      until [ -s /dev/shm/pid ]; do :; done; echo mine`
    const { status, out } = await guest.run(script)
    expect(status).toBe(0)
    expect(out.toString()).toContain('mine\n')
    expect(await text('kill -0 $(cat /dev/shm/pid) && echo alive')).toBe('alive\n')
    await guest.run('touch /dev/shm/stop; until [ -e /dev/shm/end ]; do sleep 0.01; done')
    expect(await text('ls /dev/shm; rm -f /dev/shm/*')).toBe('end\npid\nstop\n')
  })

  test('runs beside others', async () => {
    // Each waits for all others, so none would end if they took turns.
    const script =
      'mkdir -p /dev/shm/m; >/dev/shm/m/$BASHPID; until n=(/dev/shm/m/*); ((${#n[@]} > 7)); do :; done'
    const channels = Array.from({ length: 8 }, (_, i) => guest.start(`${script}; echo ${i}`))
    const outcomes = await Promise.all(channels.map((channel) => guest.ended(channel)))
    expect(outcomes.map(({ out }) => out.toString().trim().slice(-1))).toEqual([...'01234567'])
  })

  test('gets signals with all its processes', async () => {
    const channel = guest.start(`trap 'echo caught; exit 7' TERM; sleep 1000 & echo up $!; wait`)
    await guest.printed(channel, 'up ')
    guest.send(channel, 'signal', Uint8Array.of(SIGTERM))
    const { status, out } = await guest.ended(channel)
    expect(status).toBe(7)
    const sleeper = /up (\d+)/.exec(out.toString())?.[1]
    expect(out.toString()).toContain('caught\n')
    // Dead at once, but there until PID 1 has reaped it.
    await guest.run(`while kill -0 ${sleeper}; do sleep 0.02; done`)
  })

  test('is ended by SIGINT as in a terminal', async () => {
    const channel = guest.start('echo up; sleep 1000; echo not reached')
    await guest.printed(channel, 'up\n')
    guest.send(channel, 'signal', Uint8Array.of(SIGINT))
    expect(await guest.ended(channel)).toMatchObject({ status: 130, out: Buffer.from('up\n') })
  })

  test('may be stopped and continued', async () => {
    const channel = guest.start('echo $BASHPID; kill -STOP 0; echo again')
    await guest.printed(channel, '\n')
    const pid = guest.out(channel).toString().trim()
    await guest.run(`until grep -q 'State:.T' /proc/${pid}/status; do :; done`)
    expect(guest.frames(channel).some(({ type }) => type === FromGuest.exit)).toBe(false)
    guest.send(channel, 'signal', Uint8Array.of(18))
    const { status, out } = await guest.ended(channel)
    expect({ status, out: out.toString() }).toEqual({ status: 0, out: `${pid}\nagain\n` })
  })

  test('is killed by CLOSE, however deaf it is, and says nothing more', async () => {
    const channel = guest.start(`trap '' HUP TERM; sleep 1000 & echo $BASHPID $!; wait; wait`)
    await guest.printed(channel, '\n')
    const pids = guest.out(channel).toString().trim()
    guest.send(channel, 'close')
    const { status } = await guest.run(
      `for p in ${pids}; do while kill -0 $p; do sleep 0.01; done; done 2>/dev/null`,
    )
    expect(status).toBe(0)
    expect(guest.frames(channel).some(({ type }) => type === FromGuest.exit)).toBe(false)
  })
})

describe('many at once', () => {
  test('a flood of one channel does not keep another waiting', async () => {
    const flood = guest.start('yes')
    await guest.printed(flood, 'y\n')
    const startedAt = performance.now()
    expect(await guest.run('echo through')).toMatchObject({
      status: 0,
      out: Buffer.from('through\n'),
    })
    await guest.hello()
    expect(performance.now() - startedAt).toBeLessThan(5000)
    guest.send(flood, 'close')
    const pid = (await text('pgrep -x yes || true')).trim()
    await guest.run(`while [ -e /proc/${pid || 'none'} ]; do sleep 0.01; done`)
  })

  test('frames for channels that are not open are dropped', async () => {
    for (const type of ['data', 'close'] as const) guest.send(4_000_000, type, 'x')
    guest.send(4_000_000, 'signal', Uint8Array.of(9))
    expect((await guest.run('true')).status).toBe(0)
    expect(guest.frames(4_000_000)).toEqual([])
  })

  test('an answer to HELLO carries its nonce and facts', async () => {
    expect(await guest.hello('nonce-1')).toMatch(
      /^nonce-1\nversion=1\nkernel=6\.\S+\nhostname=raw0\nuptime_ms=\d+\n$/,
    )
  })
})

describe('a terminal', () => {
  test('runs a command and gives its status', async () => {
    const channel = guest.startPty('tty; stty size; exit 5', { rows: 33, cols: 444 })
    const { status, out } = await guest.ended(channel)
    expect(status).toBe(5)
    expect(out.toString()).toMatch(/^\/dev\/pts\/\d+\n33 444\n$/)
  })

  test('has the shell of the console', async () => {
    const channel = guest.startPty('')
    await guest.printed(channel, '\x1edut-shell ')
    guest.send(channel, 'data', 'echo "<$((40 + 2))>"\n')
    await guest.printed(channel, '<42>\n')
    guest.send(channel, 'data', 'exit 6\n')
    expect((await guest.ended(channel)).status).toBe(6)
  })

  test('loses nothing of what is typed before it is read', async () => {
    const channel = guest.startPty('echo go; read -r x; sleep 0.3; head -n 20000 | sha256sum')
    const lines = Array.from({ length: 20_000 }, (_, i) => `line number ${i}\n`).join('')
    await guest.printed(channel, 'go\n')
    guest.send(channel, 'data', `first\n${lines}`)
    const { out } = await guest.ended(channel)
    expect(out.toString()).toContain(createHash('sha256').update(lines).digest('hex'))
  })

  test('has standard error apart where that is asked for, before what comes after it', async () => {
    const channel = guest.startPty(
      'test -t 2 || for i in $(seq 500); do echo "e$i." >&2; echo "o$i."; done; exit 7',
      { apart: true },
    )
    const { status, out, err } = await guest.ended(channel)
    expect(status).toBe(7)
    expect(out.toString().match(/o\d+\./g)).toHaveLength(500)
    expect(err.toString().match(/e\d+\./g)).toHaveLength(500)
    let [said, seen] = ['', '']
    for (const { type, payload } of guest.frames(channel)) {
      if (type === FromGuest.err) said += Buffer.from(payload).toString()
      if (type === FromGuest.out) seen += Buffer.from(payload).toString()
      const last = seen
        .match(/o\d+\./g)
        ?.at(-1)
        ?.slice(1)
      if (last !== undefined) expect(said).toContain(`e${last}`)
    }
  })

  test('passes signals to the program in the foreground', async () => {
    const channel = guest.startPty('')
    await guest.printed(channel, '\x1edut-shell ')
    guest.send(channel, 'data', 'sleep 1000; echo "status $?"\n')
    const at = guest.out(channel).toString()
    await guest.run(`until pgrep -x sleep >/dev/null; do :; done # ${at.length}`)
    guest.send(channel, 'signal', Uint8Array.of(SIGTERM))
    await guest.printed(channel, 'status 143\n')
    guest.send(channel, 'close')
  })

  test('ends with all its processes at CLOSE', async () => {
    const channel = guest.startPty(
      `trap '' HUP; (trap '' HUP; sleep 1000) & echo $$ $!; wait; wait`,
    )
    await guest.printed(channel, '\n')
    const pids = guest.out(channel).toString().trim()
    guest.send(channel, 'close')
    const { status } = await guest.run(
      `for p in ${pids}; do while kill -0 $p; do sleep 0.01; done; done 2>/dev/null`,
    )
    expect(status).toBe(0)
  })
})

describe('an identity', () => {
  const identify = (identity: Identity) =>
    new Agent(guest.stream, (error) => {
      throw error
    }).identify(identity, { timeoutMs: 25_000 })

  test('changes the names, the machine-id and the clock', async () => {
    const facts = 'hostname; cat /etc/hosts /etc/machine-id'
    const before = await text(facts)
    await guest.run('date -s 2001-01-01')
    await identify({ hostname: 'vm-7.lan' })
    const from = Date.now()
    const clock = Number(await text('echo "${EPOCHREALTIME/./}"')) / 1000
    expect(clock).toBeGreaterThan(from - 50)
    expect(clock).toBeLessThan(Date.now() + 50)
    const after = await text(facts)
    expect(after).toMatch(
      /^vm-7\.lan\n127\.0\.0\.1 localhost vm-7\.lan *\n::1 localhost ip6-localhost\n[0-9a-f]{32}\n$/,
    )
    expect(after.slice(-33)).not.toBe(before.slice(-33))
    expect((await guest.run('ping -c 1 -W 2 vm-7.lan')).status).toBe(0)
  })

  test('sets a clock that is ahead, and the machine-id that is given', async () => {
    await guest.run('date -s 2101-01-01')
    const machineId = '0123456789abcdef0123456789abcdef'
    await identify({ hostname: 'vm7', machineId })
    const from = Date.now()
    const clock = Number(await text('echo "${EPOCHREALTIME/./}"')) / 1000
    expect(clock).toBeGreaterThan(from - 50)
    expect(clock).toBeLessThan(Date.now() + 50)
    expect(await text('cat /etc/machine-id')).toBe(`${machineId}\n`)
  })

  test('is that of shells which waited, too', async () => {
    await identify({ hostname: 'vm8' })
    await identify({ hostname: 'vm9' }) // two names, and no command between them
    await identify({ hostname: 'vm8' })
    // \h is what bash looked up when it started.
    const names = `prompt='\\h'; echo "$HOSTNAME \${prompt@P}"`
    for (let i = 0; i < 3; i++) expect(await text(names)).toBe('vm8 vm8\n')
    expect(await text('echo "${REPLY-none} ${#REPLY[@]}"; nosuchprogram')).toMatch(
      /^none 0\nbash: line \d+: nosuchprogram/,
    )
  })

  test('that the kernel refuses is the guest’s error', async () => {
    await expect(identify({ hostname: 'x'.repeat(65) })).rejects.toThrow(
      'the host name cannot be set: Invalid argument',
    )
    const channel = guest.open()
    guest.send(channel, 'identify', 'short')
    expect((await guest.ended(channel)).fail).toContain('the identity is not whole')
  })
})

describe('the end', () => {
  test('poweroff ends the machine', async () => {
    const machine = await RawGuest.boot()
    try {
      machine.start('poweroff')
      expect((await machine.exited).exitCode).toBe(0)
    } finally {
      await machine.stop()
    }
  })

  test('the power button ends the machine', async () => {
    const machine = await RawGuest.boot()
    try {
      await machine.run('until ls /dev/input/event* >/dev/null 2>&1; do sleep 0.05; done')
      await machine.run('until ls -l /proc/1/fd | grep -q input; do sleep 0.05; done')
      const qmp = connect(machine.qmpPath)
      qmp.write('{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}')
      expect((await machine.exited).exitCode).toBe(0)
      qmp.destroy()
    } finally {
      await machine.stop()
    }
  })
})
