import { afterEach, describe, expect, test } from 'vitest'
import { InfrastructureError } from '../../../src/errors.ts'
import type { Host } from '../../../src/host/host.ts'
import { localHost } from '../../../src/host/local.ts'
import {
  attachTap,
  bridgesMadeHere,
  ensureBridge,
  removeBridge,
} from '../../../src/lease/resources/bridge.ts'

const host = localHost()
const mayChangeNetworks = process.getuid?.() === 0

const made: string[] = []
afterEach(async () => {
  for (const name of made.splice(0)) await host.run('ip', ['link', 'delete', name])
})

/** A name that nothing else on this machine has; whatever gets it is removed after the test. */
function fresh(prefix: string): string {
  const name = `${prefix}${crypto.randomUUID().slice(0, 8)}`
  made.push(name)
  return name
}

async function ip(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await host.run('ip', args)
  expect({ args, exitCode, stderr }).toMatchObject({ exitCode: 0 })
  return stdout
}

async function tap(): Promise<string> {
  const name = fresh('dutt')
  await ip('tuntap', 'add', 'dev', name, 'mode', 'tap')
  return name
}

/** Its flags and what it is attached to; undefined where there is no such interface. */
async function facts(name: string): Promise<{ up: boolean; master?: string } | undefined> {
  const all: { ifname: string; flags: string[]; master?: string }[] = JSON.parse(
    await ip('-json', 'link', 'show'),
  )
  const link = all.find(({ ifname }) => ifname === name)
  if (link === undefined) return undefined
  return { up: link.flags.includes('UP'), ...(link.master && { master: link.master }) }
}

/** This machine as a user without any rights has it. */
const asNobody: Host = {
  ...host,
  run: (file, args, options) => {
    const drop = ['--reuid', '65534', '--regid', '65534', '--clear-groups', file]
    return host.run('setpriv', [...drop, ...args], options)
  },
}

describe.runIf(mayChangeNetworks)('a bridge', () => {
  test('is made, up, found when asked for again, and removed', async () => {
    const name = fresh('dutb')
    expect(await ensureBridge(host, name)).toBe(true)
    expect(await facts(name)).toEqual({ up: true })
    expect(await ensureBridge(host, name)).toBe(false)
    await removeBridge(host, name)
    expect(await facts(name)).toBeUndefined()
    await removeBridge(host, name)
  })

  test('that is there but down is set up, and one that is up needs no rights', async () => {
    const name = fresh('dutb')
    await ip('link', 'add', 'name', name, 'type', 'bridge')
    await expect(ensureBridge(asNobody, name)).rejects.toThrow(
      `the bridge ${name} cannot be set up`,
    )
    expect(await ensureBridge(host, name)).toBe(false)
    expect(await facts(name)).toEqual({ up: true })
    expect(await ensureBridge(asNobody, name)).toBe(false)
  })

  test('is known by the host as made here, unless it was there before', async () => {
    const [ours, theirs, tapOfGroup] = [fresh('dutb'), fresh('dutb'), await tap()]
    await ip('link', 'add', 'name', theirs, 'type', 'bridge')
    await ip('link', 'set', tapOfGroup, 'group', String(0x647574))
    for (const name of [ours, theirs, ours]) await ensureBridge(host, name)
    await attachTap(host, await tap(), ours)
    const made = await bridgesMadeHere(host)
    expect(made).toContain(ours)
    expect(made).not.toContain(theirs)
    expect(made).not.toContain(tapOfGroup)
    await ip('link', 'delete', ours)
    expect(await bridgesMadeHere(host)).not.toContain(ours)
  })

  test('keeps its Ethernet address, which others have in their ARP tables', async () => {
    const [bridge, port] = [fresh('dutb'), await tap()]
    const address = async () => JSON.parse(await ip('-json', 'link', 'show', bridge))[0].address
    await ensureBridge(host, bridge)
    const before = await address()
    await ip('link', 'set', port, 'address', '02:00:00:00:00:01') // it would take the lowest
    await attachTap(host, port, bridge)
    expect(await address()).toBe(before)
    const other = fresh('dutb')
    await ensureBridge(host, other)
    expect(JSON.parse(await ip('-json', 'link', 'show', other))[0].address).not.toBe(before)
  })

  test('asked for by many at once is made by one of them', async () => {
    const name = fresh('dutb')
    const all = await Promise.all(Array.from({ length: 10 }, () => ensureBridge(host, name)))
    expect(all.filter((madeNow) => madeNow)).toHaveLength(1)
    expect(await facts(name)).toEqual({ up: true })
  })

  test('asked to go by many at once is gone for all of them', async () => {
    const name = fresh('dutb')
    await ensureBridge(host, name)
    await Promise.all(Array.from({ length: 10 }, () => removeBridge(host, name)))
    expect(await facts(name)).toBeUndefined()
  })

  test('that goes while ip looks at it is one that is not there', async () => {
    const asked: string[][] = []
    const words = 'RTNETLINK answers: No such device\nCannot send link get request: No such device'
    const whileItGoes: Host = {
      ...host,
      run: (file, args, options) => {
        asked.push([file, ...args])
        // What iproute2 6.1 does when the name is known and the interface is not, a moment later.
        return host.run('sh', ['-c', `echo '[]'; echo '${words}' >&2; exit 1`], options)
      },
    }
    await removeBridge(whileItGoes, 'dutb0')
    expect(asked).toEqual([['ip', '-json', '-details', 'link', 'show', 'dev', 'dutb0']])
  })

  test('that something is attached to stays, and the error says what', async () => {
    const [bridge, port] = [fresh('dutb'), await tap()]
    await ensureBridge(host, bridge)
    await attachTap(host, port, bridge)
    const error = await removeBridge(host, bridge).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain(`${bridge} is not removed: ${port} is attached to it`)
    expect(error.hint).toContain(`ip link delete ${bridge}`)
    expect(await facts(port)).toEqual({ up: true, master: bridge })
    await ip('link', 'delete', port)
    await removeBridge(host, bridge)
    expect(await facts(bridge)).toBeUndefined()
  })

  test('whose name an interface of another kind has is refused, and that one left alone', async () => {
    const name = await tap()
    await expect(ensureBridge(host, name)).rejects.toThrow(`${name} is not a bridge: it is tun`)
    await expect(removeBridge(host, name)).rejects.toThrow(InfrastructureError)
    expect(await facts(name)).toEqual({ up: false })
    await expect(ensureBridge(host, 'lo')).rejects.toThrow('it is an interface of another kind')
  })

  test('cannot be made or removed without rights, which the error says', async () => {
    const [missing, present] = [fresh('dutb'), fresh('dutb')]
    const error = await ensureBridge(asNobody, missing).catch((error) => error)
    expect(error).toBeInstanceOf(InfrastructureError)
    expect(error.message).toContain(`the bridge ${missing} cannot be made`)
    expect(error.hint).toContain('CAP_NET_ADMIN')
    expect(await facts(missing)).toBeUndefined()
    await ensureBridge(host, present)
    const refused = removeBridge(asNobody, present)
    await expect(refused).rejects.toThrow(`the bridge ${present} cannot be removed`)
    expect(await facts(present)).toEqual({ up: true })
  })
})

test('a host without ip has no bridge that was made here', async () => {
  expect(await bridgesMadeHere({ ...host, findProgram: async () => undefined })).toEqual([])
})

describe.runIf(mayChangeNetworks)('a tap', () => {
  test('is attached and up, also when it was already', async () => {
    const [bridge, port] = [fresh('dutb'), await tap()]
    await ensureBridge(host, bridge)
    expect(await facts(port)).toEqual({ up: false })
    await attachTap(host, port, bridge)
    await attachTap(host, port, bridge)
    expect(await facts(port)).toEqual({ up: true, master: bridge })
  })

  test('for no bridge is up by itself', async () => {
    const port = await tap()
    await attachTap(host, port, undefined)
    expect(await facts(port)).toEqual({ up: true })
  })

  test('is left alone where that cannot be', async () => {
    const [bridge, port, gone] = [fresh('dutb'), await tap(), fresh('dutt')]
    await expect(attachTap(host, port, bridge)).rejects.toThrow(
      new RegExp(`the tap ${port} cannot be attached to the bridge ${bridge}\\n.*\\n.*not exist`),
    )
    await expect(attachTap(host, gone, undefined)).rejects.toThrow(/Cannot find device/)
    await expect(attachTap(asNobody, port, undefined)).rejects.toThrow(/be set up.*CAP_NET_ADMIN/s)
    expect(await facts(port)).toEqual({ up: false })
    await expect(attachTap(host, port, 'lo')).rejects.toThrow('cannot be attached to the bridge lo')
    expect(await facts(port)).not.toHaveProperty('master')
  })
})
