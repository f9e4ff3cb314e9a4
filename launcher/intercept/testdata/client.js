const dns = require('dns'), http = require('http'), os = require('os');

const get = (url) => new Promise((done) => {
  http.get(url, (res) => {
    let body = '';
    res.on('data', (d) => { body += d; });
    res.on('end', () => done(body));
  }).on('error', (e) => done(e.code));
});

(async () => {
  for (const host of ['web', 'gone', 'far']) console.log(await get(`http://${host}.shop/x`));
  console.log('fetched ' + await (await fetch('http://web.shop/x')).text());
  console.log('lookup ' + (await dns.promises.lookup('web.shop')).address);
  console.log('resolve4 ' + (await dns.promises.resolve4('web.shop'))[0]);
  console.log('hostname ' + os.hostname());
})();
