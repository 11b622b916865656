// Joins a channel and has nothing else to do.
import { joinChannel } from '../../src/runner/channel.ts'

joinChannel(process.argv[2] ?? '', () => {}).tell({ type: 'fleet', suite: 'a', vms: [] })
