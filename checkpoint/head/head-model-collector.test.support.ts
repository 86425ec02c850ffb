import type { Step } from '../explore.test.support.js';
import type { Head } from './head.js';
import { type Collector, get, readManifests, remove, type Setup, type World } from './head-model-world.test.support.js';
import { objectsOf } from './head-protocol.js';

/*
 * One thorough run of collectGarbage, by anyone, at any time: HEAD, the manifests outside it, pins listed, pins read, objects listed,
 * then one delete after the other. It may rest for ever between any two of these, and go on. Deletes have one order: each concerns
 * its object alone, so others come to nothing new. So do the leader's own collections (its candidates are names that a list would have given).
 */
export function collectorSteps(world: World, index: number, setup: Setup): Step<World>[] {
  const collector = world.collectors[index] as Collector;
  const step = (label: string, change: Partial<Collector>, from = world): Step<World>[] => {
    const collectors = from.collectors.map((other, i) => (i === index ? { ...other, ...change } : other));
    return [{ label: `collector ${index + 1} ${label}`, to: { ...from, collectors } }];
  };
  const over: Partial<Collector> = { at: 'done', head: null, marked: [], names: [] };
  const { collectable, markedBy, collectorReads } = setup.decisions;
  const { head, names, marked } = collector;
  const readHead = (then: Collector['at']) => {
    if (world.head === null) return step('finds no HEAD', over);
    return step(`reads HEAD (epoch ${world.head.epoch}, line ${world.head.line})`, { at: then, head: world.head });
  };
  const listPins = (then: Collector['at']) => {
    const pins = world.objects.flatMap(({ name }) => (name.startsWith('pins/') ? [name] : []));
    return step(`lists ${pins.length} pins`, { at: pins.length === 0 ? then : 'pinned manifests', names: pins });
  };
  const afterPins: Collector['at'] = collectorReads === 'HEAD, then pins' ? 'list' : 'HEAD';

  switch (collector.at) {
    case 'off':
      return collectorReads === 'HEAD, then pins' ? readHead('manifests') : listPins('HEAD');
    case 'HEAD':
      return readHead('manifests');
    case 'manifests': {
      // Nobody can tell when this was read: a manifest that is not gone yet is what it always was.
      const manifests = readManifests(world, head as Head);
      if (manifests === undefined) return step('finds a manifest gone, and ends', over);
      const all = [...new Set([...marked, ...markedBy(head as Head, manifests)])].sort();
      return step('reads the kept manifests', {
        at: collectorReads === 'HEAD, then pins' ? 'pins' : 'list',
        marked: all,
      });
    }
    case 'pins':
      return listPins('list');
    case 'pinned manifests': {
      const pins = names.map((name) => get(world, name)).filter((pin) => pin !== undefined && typeof pin !== 'string');
      const all = [...new Set([...marked, ...pins.flatMap(objectsOf)])].sort();
      return step(`reads ${pins.length} pins`, { at: afterPins, marked: all, names: [] });
    }
    case 'list': {
      const listed = world.objects.map(({ name }) => name).filter((name) => !name.startsWith('pins/'));
      const dead = collectable(listed, head as Head, new Set(marked));
      if (dead.length === 0) return step('lists the objects, and finds none dead', over);
      return step(`lists the objects, and finds ${dead.length} dead`, {
        at: 'delete',
        names: dead,
        head: null,
        marked: [],
      });
    }
    case 'delete': {
      const [name, ...rest] = names;
      const deleted = remove(world, name as string);
      return step(`deletes ${name}`, rest.length === 0 ? over : { names: rest }, deleted);
    }
    case 'done':
      return [];
  }
}
