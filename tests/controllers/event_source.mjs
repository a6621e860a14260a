// A JavaScript program that follows a run: node event_source.mjs ADDRESS TYPE... tells on standard output what it gets.
import {EventSource} from 'eventsource';

const [address, ...types] = process.argv.slice(2);
const source = new EventSource(address);
const tell = line => console.log(JSON.stringify(line));

source.onopen = () => tell({open: true});
for (const type of types) {
  source.addEventListener(type, event => {
    if ('data' in event) tell({type: event.type, id: event.lastEventId, data: JSON.parse(event.data)});
    else tell({lost: true, closed: source.readyState === EventSource.CLOSED});
  });
}
source.onmessage = event => tell({unnamed: event.data});
