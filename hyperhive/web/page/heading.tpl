<h2 id="{{id}}-title"><span class="leet" aria-hidden="true">{{leet}}</span><span class="away">{{plain}}</span></h2>
