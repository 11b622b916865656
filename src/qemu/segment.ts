import { optionValue } from './option-value.ts'

/** How a VM's NIC is wired to a port of a {@link import('./hub.ts').Hub}. */
export interface SegmentNetdev {
  type: 'dgram'
  id: string
  local: { type: 'unix'; path: string }
  remote: { type: 'unix'; path: string }
  [key: string]: unknown
}

/** The socket that a member of the segment receives at; the hub receives at the port's own path. */
export function memberSocket(port: string): string {
  return `${port}.vm`
}

/** Arguments of QMP's `netdev_add` for a member at a hub's port. */
export function segmentNetdev(id: string, port: string): SegmentNetdev {
  return {
    type: 'dgram',
    id,
    local: { type: 'unix', path: memberSocket(port) },
    remote: { type: 'unix', path: port },
  }
}

/** The hub's end of {@link segmentNetdev}. */
export function hubNetdev(id: string, port: string): SegmentNetdev {
  const { local, remote, ...rest } = segmentNetdev(id, port)
  return { ...rest, local: remote, remote: local } as SegmentNetdev
}

/** The same as {@link segmentNetdev}, as the value of QEMU's option `-netdev`. */
export function segmentNetdevOption(id: string, port: string): string {
  return [
    `dgram,id=${id}`,
    `local.type=unix,local.path=${optionValue(memberSocket(port))}`,
    `remote.type=unix,remote.path=${optionValue(port)}`,
  ].join(',')
}
